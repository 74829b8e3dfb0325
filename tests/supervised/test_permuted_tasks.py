import pytest
import torch

from metarl.supervised.datasets.strokes import drawings
from metarl.supervised.permuted_tasks import Disguise, Labelled, disguises, swapped_pixels

DATA = Labelled(torch.arange(8.0).view(2, 1, 2, 2), torch.tensor([0, 2]))


def test_a_disguise_by_hand():
    found = Disguise(torch.tensor([1, 2, 0]), torch.tensor([3, 1, 2, 0])).of(DATA)
    assert found.labels.tolist() == [1, 0]
    assert found.images.flatten(1).tolist() == [[3, 1, 2, 0], [7, 5, 6, 4]]
    assert Disguise().of(DATA) == DATA


def test_labels_are_permuted_and_pixels_swapped():
    labels = disguises("permuted-labels", 3, 10, 784, 0)
    assert all(sorted(each.labels.tolist()) == list(range(10)) and each.pixels is None for each in labels)
    assert len({tuple(each.labels.tolist()) for each in labels}) == 3
    pixels = disguises("swapped-pixels", 2, 10, 784, 0)
    for each in pixels:
        assert sorted(each.pixels.tolist()) == list(range(784))
        moved = int((each.pixels != torch.arange(784)).sum())
        assert 250 < moved <= 400  # 200 pairs of which some meet
    assert int((swapped_pixels(10, 784, torch.Generator(), 1).pixels != torch.arange(784)).sum()) == 2


def test_as_many_hands_as_are_asked_for():
    store = drawings(3, 40, seed=0)
    assert store.images.shape == (120, 1, 28, 28)
    assert store.sizes.tolist() == [40] * 3
    assert len(store.images.flatten(1).unique(dim=0)) == 120
    assert torch.equal(store.images, drawings(3, 40, seed=0).images)
    assert not torch.equal(store.images, drawings(3, 40, seed=1).images)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: disguises("permuted-label", 1, 2, 4, 0), "did you mean 'permuted-labels'"),
        (lambda: drawings(3, 30, 0), "multiples of 20"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
