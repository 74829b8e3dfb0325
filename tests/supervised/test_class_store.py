import pytest
import torch

from metarl.supervised.class_store import ClassStore


def store(**changes):
    images = torch.arange(5 * 2 * 4, dtype=torch.uint8).view(5, 2, 2, 2)
    return ClassStore(images, torch.tensor([0, 2, 5]), ["a", "b"], **changes)


def test_pictures_are_scaled_by_hand():
    pictures = store(mean=(0.5, 0.25), std=(0.5, 2.0)).pictures(torch.tensor([[0], [4]]))
    assert pictures.shape == (2, 1, 2, 2, 2)
    assert pictures.dtype == torch.float32
    expected = torch.stack([(torch.tensor([[32.0, 33], [34, 35]]) / 255 - 0.5) / 0.5])
    torch.testing.assert_close(pictures[1, 0, :1], expected)
    second = (torch.tensor([[4.0, 5], [6, 7]]) / 255 - 0.25) / 2
    torch.testing.assert_close(pictures[0, 0, 1], second)


@pytest.mark.parametrize("turn", range(4))
def test_a_turned_class_is_rot90_of_its_pictures(turn):
    turned = store(rotations=4)
    assert turned.num_classes == 8
    assert turned.sizes.tolist() == [2, 3] * 4
    index = torch.arange(5)
    found = turned.pictures(index, torch.full((5,), turn))
    torch.testing.assert_close(found, torch.rot90(turned.pictures(index), turn, (2, 3)))


def test_a_subset_keeps_what_belongs_to_its_classes():
    chosen = store(groups=["x", "y"], mean=(0.1, 0.2)).subset([1])
    assert (chosen.names, chosen.groups, chosen.starts.tolist()) == (["b"], ["y"], [0, 3])
    assert torch.equal(chosen.images, store().images[2:])
    assert chosen.mean == (0.1, 0.2)
    both = store().subset([1, 0])
    assert both.images[:, 0, 0, 0].tolist() == [16, 24, 32, 0, 8]
    assert chosen.md5 != both.md5


@pytest.mark.parametrize("labels", ["badba", "aabbd"])
def test_images_in_any_order_are_sorted_by_class(labels):
    found = ClassStore.of_labelled(store().images, labels, {"a": "x", "b": "y", "d": "x", "z": "y"})
    assert (found.names, found.groups) == (["a", "b", "d"], ["x", "y", "x"])
    assert found.sizes.tolist() == [2, 2, 1]
    expected = [row for name in "abd" for row, label in enumerate(labels) if label == name]
    assert torch.equal(found.images, store().images[expected])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClassStore(torch.zeros(2, 1, 2, 2), torch.tensor([0, 2]), ["a"]), "must be uint8"),
        (lambda: ClassStore(store().images, torch.tensor([0, 4]), ["a"]), "from 0 to 5"),
        (lambda: store(rotations=2), "rotations must be 1, or 4"),
        (lambda: store(groups=["x"]), "2 classes need as many groups"),
        (lambda: ClassStore.of_labelled(store().images, "ab"), "5 images need as many labels, got 2"),
        (lambda: store().subset([2]), "from 0 to 1, got"),
        (lambda: store().subset([]), "got none"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
