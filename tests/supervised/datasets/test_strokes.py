import pytest
import torch

from metarl.supervised.datasets import load, strokes
from metarl.supervised.episodes import EpisodeSampler


def pixel_accuracy(store, shot):
    """Of the nearest mean of pixels."""
    episode = EpisodeSampler(store, 5, shot, 5).draw(200, torch.Generator().manual_seed(0))
    means = episode.support.flatten(2).view(200, 5, shot, -1).mean(2)
    found = torch.cdist(episode.query.flatten(2), means).argmin(-1)
    return float((found == episode.query_labels).float().mean())


def test_splits_share_no_drawing_and_are_always_the_same():
    stores = [load("strokes", split) for split in ("train", "validation", "test")]
    assert [each.num_classes for each in stores] == [120, 40, 40]
    drawings = [{each.numpy().tobytes() for each in store.images} for store in stores]
    assert len(set().union(*drawings)) == sum(map(len, stores))
    strokes._drawn.cache_clear()
    assert load("strokes", "test").md5 == stores[2].md5


def test_drawings_can_be_told_apart_but_not_easily():
    store = load("strokes", "test")
    assert 0.4 < pixel_accuracy(store, 1) < 0.8 < pixel_accuracy(store, 5) + 0.2


def test_names_are_checked():
    with pytest.raises(ValueError, match="did you mean 'strokes'"):
        load("stroke", "train")
    with pytest.raises(ValueError, match="did you mean 'validation'"):
        load("strokes", "validatio")
