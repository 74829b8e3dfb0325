"""Episodes: what is drawn, how often, and the same from the same generator."""

import pytest
import torch

from metarl.supervised.augmentation import AUGMENTATIONS
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import EpisodeSampler
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.regression import Sinusoids
from metarl.supervised.task_kinds import training_sampler
from tests.supervised import front


def numbered(sizes, rotations):
    """A store whose pictures say what they are: the row, plus 1, in a corner that turns with the picture."""
    starts = torch.tensor([0, *sizes]).cumsum(0)
    images = torch.zeros(sum(sizes), 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(1, sum(sizes) + 1)
    return ClassStore(images, starts, [f"c{i}" for i in range(len(sizes))], rotations=rotations)


def decoded(pictures):
    """Rows and quarter turns (counter-clockwise) of the pictures of a numbered store."""
    corners = (pictures * 255).round().long().flatten(-3)[..., [0, 2, 3, 1]]
    rows, turns = corners.max(-1)
    return rows - 1, turns


def sampler(sizes=(4, 7, 5, 9, 4), rotations=1, way=3, shot=1, query=2):
    return EpisodeSampler(numbered(sizes, rotations), way, shot, query)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("sizes", [(4, 7, 5, 9, 4), (6, 6, 6, 6)])
@pytest.mark.parametrize("rotations", [1, 4])
def test_every_row_is_of_the_class_its_label_says_and_none_comes_twice(sizes, rotations):
    draws = sampler(sizes, rotations, shot=2, query=2)
    store = draws.store
    episode = draws.draw(200, generator())
    assert episode.support.shape == (200, 6, 1, 2, 2)
    assert episode.query.shape == (200, 6, 1, 2, 2)
    assert episode.way == 3
    assert episode.support_labels.tolist() == [[0, 0, 1, 1, 2, 2]] * 200
    rows, turns = decoded(torch.cat([episode.support, episode.query], 1))
    labels = torch.cat([episode.support_labels, episode.query_labels], 1)
    classes = episode.classes.gather(1, labels)
    num = len(store.names)
    assert torch.equal(turns, classes // num)
    assert (rows >= store.starts[classes % num]).all()
    assert (rows < store.starts[classes % num + 1]).all()
    for many in (rows * 4 + turns, episode.classes):
        ordered = many.sort(1).values
        assert (ordered[:, 1:] > ordered[:, :-1]).all()


def test_classes_and_images_are_drawn_evenly_and_in_random_order():
    sizes, tasks = (4, 7, 5, 9, 4), 20_000
    draws = sampler(sizes)
    episode = draws.draw(tasks, generator())
    for place in range(3):  # each class as often at each place
        counts = torch.bincount(episode.classes[:, place], minlength=5).double()
        assert (counts / tasks - 1 / 5).abs().max() < 4 * (0.16 / tasks) ** 0.5
    rows = decoded(episode.query)[0].flatten()
    counts = torch.bincount(rows, minlength=sum(sizes)).double() / tasks
    expected = torch.cat([torch.full((n,), 3 / 5 * 2 / n, dtype=torch.float64) for n in sizes])
    assert ((counts - expected).abs() < 4 * (expected / tasks).sqrt()).all()


def test_pairs_of_classes_are_drawn_evenly():
    classes = sampler((3, 3, 3, 3), way=2).draw(12_000, generator()).classes
    counts = torch.bincount(classes[:, 0] * 4 + classes[:, 1], minlength=16).view(4, 4)
    assert (counts.diagonal() == 0).all()
    assert (counts[~torch.eye(4, dtype=torch.bool)] - 1000).abs().max() < 4.5 * 1000**0.5


def test_a_generators_state_says_what_is_drawn():
    draws = sampler(rotations=4)
    one, again, other = draws.draw(9, generator(1)), draws.draw(9, generator(1)), draws.draw(9, generator(2))
    for a, b in zip(one, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.support, other.support)
    state = generator(1)
    first, second = draws.draw(9, state), draws.draw(9, state)
    assert torch.equal(first.query, one.query)
    assert not torch.equal(second.query, one.query)


def test_an_episode_may_take_all_there_is():
    episode = sampler((3, 3), way=2, shot=1, query=2).draw(50, generator())
    rows, _ = decoded(torch.cat([episode.support, episode.query], 1))
    assert torch.equal(rows.sort(1).values, torch.arange(6).expand(50, 6))
    assert sampler(query=0).draw(1, generator()).query.shape == (1, 0, 1, 2, 2)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: sampler(way=6), "6 ways needs as many classes, but there are 5"),
        (lambda: sampler((4, 3, 2), way=2), r"'c2' has 2 images, but 1 shots and 2 queries need 3 \(1 of 3"),
        (lambda: sampler((4, 3, 2), rotations=4, way=2), r"'c2' has 2 images.*\(4 of 12"),
        (lambda: sampler(shot=0), "shot=0"),
        (lambda: sampler(query=-1), "query=-1"),
        (lambda: sampler().draw(0, generator()), "at least 1 task"),
    ],
)
def test_mistakes_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("rotations", [1, 4])
def test_preferred_classes_come_first_in_any_place(rotations):
    draws = sampler(rotations=rotations)
    few = draws.draw(300, generator(), preferred=torch.tensor([1, 4])).classes
    assert all({1, 4} <= set(classes) and len(set(classes)) == 3 for classes in few.tolist())
    assert {place for classes in few.tolist() for place, each in enumerate(classes) if each == 4} == {0, 1, 2}
    others = few[(few != 1) & (few != 4)].bincount(minlength=5 * rotations)
    assert (others > 0).sum() == 5 * rotations - 2
    many = draws.draw(300, generator(), preferred=torch.arange(4)).classes
    assert many.unique().tolist() == [0, 1, 2, 3]
    nobody = draws.draw(50, generator(), preferred=torch.empty(0, dtype=torch.int64)).classes
    assert len(nobody.unique()) == 5 * rotations


@pytest.mark.parametrize("augment", ["crop", "resized_crop", "affine"])
def test_augmented_episodes_are_the_plain_ones_with_every_image_changed_by_itself(augment):
    store, draw = front.load_once("strokes", "train"), generator()
    plain = training_sampler(store, EpisodicTraining(query=2), 3, 1).draw(4, draw)
    images = torch.cat([plain.support, plain.query], 1)
    expected = AUGMENTATIONS[augment](images.flatten(0, 1), draw).view_as(images)
    found = training_sampler(store, EpisodicTraining(query=2, augment=augment), 3, 1).draw(4, generator())
    assert torch.equal(torch.cat([found.support, found.query], 1), expected)
    assert not torch.equal(expected, images)
    assert torch.equal(found.classes, plain.classes)
    assert torch.equal(found.query_labels, plain.query_labels)


def test_what_is_no_image_is_not_augmented():
    training = EpisodicTraining(query=2, augment="affine")
    features = ClassStore(torch.zeros(6, 4, 1, 1), torch.tensor([0, 3, 6]), ["a", "b"])
    with pytest.raises(ValueError, match="the data are features"):
        training_sampler(features, training, 2, 1)
    with pytest.raises(ValueError, match="the data are functions"):
        training_sampler(Sinusoids("train"), training, 1, 5)
    with pytest.raises(ValueError, match=r"training.augment='affin', expected one of none, crop"):
        EpisodicTraining(augment="affin")
