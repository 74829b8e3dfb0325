"""The nearest class mean of pixels, by hand."""

import pytest
import torch

from metarl.supervised.episodes import Episode
from metarl.supervised.methods import build, preset
from metarl.supervised.presets.nearest_centroid import Config


def given():
    """Pictures of one pixel: classes around 0 and 10, queries at 2 and 6."""
    pixels = [torch.tensor(each).view(-1, 1, 1, 1) for each in ([-1.0, 1.0, 8.0, 12.0], [2.0, 6.0])]
    labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1])
    return Episode(pixels[0], labels[0], pixels[1], labels[1], torch.arange(2))


def test_by_hand():
    config = preset("nearest-centroid", "strokes", 2, 2)
    method = build("nearest-centroid", config, (1, 1, 1), 2, 2, 2)
    loss, scores = method.task({}, given(), "running")
    assert scores.tolist() == [[-4.0, -64.0], [-36.0, -16.0]]
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert not list(method.module.parameters())


def test_cosines_and_the_scale():
    method = build("nearest-centroid", Config(distance="cosine", scale=2.0), (1, 1, 1), 2, 2, 2)
    _, scores = method.task({}, given(), "running")
    assert scores.tolist() == [[0.0, 2.0], [0.0, 2.0]]
    usual = build("nearest-centroid", Config(distance="cosine"), (1, 1, 1), 2, 2, 2)
    assert usual.task({}, given(), "running")[1].tolist() == [[0.0, 10.0], [0.0, 10.0]]
