import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.supervised.class_store import ClassStore
from metarl.supervised.pairs import PairSampler, two_different

SIZES = (2, 5, 3, 4, 2, 6)
ALPHABETS = ["a", "a", "b", "b", "b", "a"]


def store(sizes=SIZES, groups=ALPHABETS, rotations=1):
    """Images whose four pixels are their row; classes of the sizes given."""
    starts = torch.tensor([0, *sizes]).cumsum(0)
    images = torch.arange(int(starts[-1])).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)
    names = [f"class-{number}" for number in range(len(sizes))]
    return ClassStore(images, starts, names, groups=groups, rotations=rotations)


def draw(number=4000, within_groups=True, seed=0, **changes):
    sampler = PairSampler(store(**changes), within_groups)
    return sampler.indices(number, torch.Generator().manual_seed(seed))


def test_half_of_the_pairs_are_of_one_class_and_no_picture_is_paired_with_itself():
    classes, rows = draw()
    same = classes[0] == classes[1]
    assert same[0::2].all()
    assert not same[1::2].any()
    assert (rows[0] != rows[1]).all()
    starts = store().starts
    assert ((starts[classes] <= rows) & (rows < starts[classes + 1])).all()


def test_every_picture_and_every_pair_of_pictures_of_a_class_turns_up():
    classes, rows = draw()
    assert set(rows.flatten().tolist()) == set(range(sum(SIZES)))
    second = (classes[0] == 1) & (classes[1] == 1)
    assert len({tuple(pair) for pair in rows.T[second].tolist()}) == 5 * 4


def test_both_classes_are_of_one_alphabet_and_alphabets_are_equally_likely():
    classes, _ = draw()
    alphabet = torch.tensor([name == "b" for name in ALPHABETS])[classes]
    assert torch.equal(alphabet[0], alphabet[1])
    assert abs(alphabet.float().mean() - 0.5) < 0.04
    mixed = torch.tensor([name == "b" for name in ALPHABETS])[draw(within_groups=False)[0]]
    assert (mixed[0] != mixed[1]).any()


def test_without_alphabets_all_classes_may_meet():
    classes, _ = draw(groups=None)
    assert {tuple(pair) for pair in classes.T.tolist() if pair[0] != pair[1]} == {
        (a, b) for a in range(6) for b in range(6) if a != b
    }


def test_turned_classes_meet_only_those_turned_alike_and_are_turned():
    classes, _ = draw(rotations=4)
    assert set(classes.flatten().tolist()) == set(range(24))
    assert torch.equal(classes[0] // 6, classes[1] // 6)
    images = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    turned = ClassStore(images, torch.tensor([0, 3, 6]), ["x", "y"], rotations=4)
    sampler = PairSampler(turned)
    pairs = sampler.draw(200, torch.Generator().manual_seed(3))
    classes, rows = sampler.indices(200, torch.Generator().manual_seed(3))
    for number in range(200):
        expected = torch.rot90(images[rows[0, number], 0], int(classes[0, number]) // 2) / 255
        torch.testing.assert_close(pairs.first[number, 0], expected)


def test_drawn_pictures_are_those_of_the_indices():
    sampler = PairSampler(store())
    pairs = sampler.draw(50, torch.Generator().manual_seed(1))
    classes, rows = sampler.indices(50, torch.Generator().manual_seed(1))
    assert torch.equal((pairs.first[:, 0, 0, 0] * 255).round().long(), rows[0])
    assert torch.equal((pairs.second[:, 0, 0, 0] * 255).round().long(), rows[1])
    assert torch.equal(pairs.same, (classes[0] == classes[1]).float())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=20), st.integers(0, 1000))
def test_two_different_numbers_in_range(sizes, seed):
    sizes = torch.tensor(sizes)
    found = two_different(sizes, torch.Generator().manual_seed(seed))
    assert (found[0] != found[1]).all()
    assert ((found >= 0) & (found < sizes)).all()


def test_two_different_numbers_are_uniform():
    found = two_different(torch.full((60_000,), 3), torch.Generator().manual_seed(0))
    counts = (3 * found[0] + found[1]).bincount(minlength=9).view(3, 3)
    assert (counts.diagonal() == 0).all()
    assert ((counts[~torch.eye(3, dtype=torch.bool)] - 10_000).abs() < 400).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": (2, 1, 3, 4, 2, 6)}, "class 'class-1' has 1 images"),
        ({"groups": ["a", "a", "c", "a", "a", "a"]}, "1 of group 'c' is all there is"),
        ({"sizes": (4,), "groups": None}, "1 is all there is"),
    ],
)
def test_stores_without_pairs_are_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PairSampler(store(**changes))
