"""Gaussian prototypical networks: centres, distances, and what certainty is for."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.gaussian_prototypical import damaged, distances, gaussians
from tests.supervised import front


def small(channels=8, **changes):
    config = preset("gaussian-prototypical", "strokes", 5, 1)
    return replace(config, backbone=replace(config.backbone, channels=channels), **changes)


def test_gaussians_by_hand():
    features = torch.tensor([[0.0, 2.0], [4.0, 6.0], [1.0, 1.0]])
    labels = torch.tensor([0, 0, 1])
    centres, certainties = gaussians(features, torch.tensor([[1.0], [3.0], [2.0]]), labels, 2)
    torch.testing.assert_close(centres, torch.tensor([[3.0, 5.0], [1.0, 1.0]]))
    assert certainties.tolist() == [[4.0], [2.0]]
    diagonal = torch.tensor([[1.0, 3.0], [3.0, 1.0], [2.0, 5.0]])
    centres, certainties = gaussians(features, diagonal, labels, 2)
    torch.testing.assert_close(centres, torch.tensor([[3.0, 3.0], [1.0, 1.0]]))
    assert certainties.tolist() == [[4.0, 4.0], [2.0, 5.0]]


def test_distances_by_hand():
    queries, centres = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    found = distances(queries, centres, torch.tensor([[4.0], [1.0]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 20**0.5], [10.0, 0.0]]), atol=2e-3, rtol=1e-5)
    found = distances(queries, centres, torch.tensor([[4.0, 9.0], [1.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[2.0, 6.0], [180**0.5, 0.0]]), atol=2e-3, rtol=1e-5)


def test_a_query_at_the_centre_has_a_gradient():
    queries = torch.ones(1, 3, requires_grad=True)
    distances(queries, torch.ones(1, 3), torch.ones(1, 1)).sum().backward()
    assert queries.grad.isfinite().all()


def test_damaged_images_are_blurred_and_the_others_untouched():
    images = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = damaged(images, 0.5, torch.Generator().manual_seed(1))
    changed = (found != images).flatten(1).any(1)
    assert 70 < changed.sum() < 130
    rough = (images - images.roll(1, -1)).square().mean((1, 2, 3))
    smooth = (found - found.roll(1, -1)).square().mean((1, 2, 3))
    assert (smooth[changed] < 0.8 * rough[changed]).all()
    assert torch.equal(found, damaged(images, 0.5, torch.Generator().manual_seed(1)))
    assert torch.equal(damaged(images, 0.0, torch.Generator().manual_seed(1)), images)


def test_training_on_damaged_images_is_a_stage():
    store = front.load_once("strokes", "train")
    config = small(damaged=1.0)
    config = replace(config, training=replace(config.training, way=6, query=2, tasks=2))
    method = build("gaussian-prototypical", config, store.image, store.num_classes, 5, 3)
    (stage,) = method.stages
    assert stage.share == 1
    episodes = stage.draw(store, torch.Generator().manual_seed(0), 0.5)
    clean = EpisodeSampler(store, 6, 3, 2).draw(2, torch.Generator().manual_seed(0))
    assert episodes.support.shape == clean.support.shape
    assert torch.equal(episodes.classes, clean.classes)
    assert (episodes.support != clean.support).flatten(2).any(-1).all()
    params = dict(method.module.named_parameters())
    losses = [
        method.task(params, type(episodes)(*(part[each] for part in episodes)), "joint")[0] for each in (0, 1)
    ]
    torch.testing.assert_close(stage.loss(params, episodes)[0], sum(losses) / 2)


def noisy(pictures, generator):
    """Half of the rows with much noise, and which."""
    chosen = torch.rand(len(pictures), generator=generator) < 0.5
    noise = torch.randn(pictures.shape, generator=generator)
    return torch.where(chosen.view(-1, 1, 1, 1), pictures + noise, pictures), chosen


def test_it_learns_that_noisy_images_are_less_certain():
    torch.manual_seed(0)
    train, test = (front.load_once("strokes", split) for split in ("train", "test"))
    method = build("gaussian-prototypical", small(channels=16), train.image, train.num_classes, 20, 4)
    params = dict(method.module.named_parameters())
    sampler, adam = EpisodeSampler(train, 20, 4, 5), torch.optim.Adam(params.values(), 5e-3)
    for step in range(150):
        draw = torch.Generator().manual_seed(step)
        episode = Episode(*(each[0] for each in sampler.draw(1, draw)))
        episode = episode._replace(support=noisy(episode.support, draw)[0])
        adam.zero_grad()
        method.task(params, episode, "joint")[0].backward()
        adam.step()
    pictures, chosen = noisy(test.pictures(torch.arange(len(test))), torch.Generator().manual_seed(0))
    with torch.no_grad():
        certainty = 1 + F.softplus(method.module.certainty(method.module.net(pictures)))
    assert certainty[~chosen].mean() > 1.05 * certainty[chosen].mean()


@pytest.mark.parametrize("wrong", [{"certainty": "both"}, {"damaged": 1.5}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)
