import pytest
import torch

from metarl.supervised.distances import class_means, cosine_similarities, squared_distances

D = torch.float64


def vectors(*shape, seed=0):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


def test_hand_computed_values():
    queries, centres = (
        torch.tensor([[1.0, 2.0], [0.0, 0.0]]),
        torch.tensor([[1.0, 2.0], [4.0, -2.0], [2.0, 4.0]]),
    )
    assert squared_distances(queries, centres).tolist() == [[0, 25, 5], [5, 20, 20]]
    torch.testing.assert_close(cosine_similarities(queries, centres), torch.tensor([[1.0, 0, 1], [0, 0, 0]]))
    means = class_means(torch.tensor([[2.0], [4.0], [9.0]]), torch.tensor([2, 2, 0]), 3)
    assert means.tolist() == [[9], [0], [3]]


def test_distances_equal_cdists_and_are_never_negative():
    queries, centres = vectors(7, 5), vectors(4, 5, seed=1)
    expected = torch.cdist(queries, centres).square()
    torch.testing.assert_close(squared_distances(queries, centres), expected, rtol=1e-10, atol=1e-12)
    far = torch.randn(50, 64) + 100  # float32: the expansion alone goes below zero here
    assert (far.square().sum(1) + far.square().sum(1) - 2 * (far * far).sum(1)).min() <= 0
    assert squared_distances(far, far).min() >= 0


@pytest.mark.parametrize("of", [squared_distances, cosine_similarities])
def test_a_task_axis_vmap_and_a_loop_agree_and_derivatives_are_exact(of):
    queries, centres = vectors(3, 6, 5), vectors(3, 4, 5, seed=1)
    expected = torch.stack([of(q, c) for q, c in zip(queries, centres, strict=True)])
    torch.testing.assert_close(of(queries, centres), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.vmap(of)(queries, centres), expected, rtol=1e-12, atol=1e-12)
    inputs = queries[0].requires_grad_(), centres[0].requires_grad_()
    assert torch.autograd.gradgradcheck(of, inputs)


def test_class_means_do_not_depend_on_the_order_of_rows_and_allow_unequal_shots():
    features, labels = vectors(9, 5), torch.tensor([0, 2, 2, 1, 0, 0, 2, 0, 1])
    expected = torch.stack([features[labels == c].mean(0) for c in range(3)])
    torch.testing.assert_close(class_means(features, labels, 3), expected, rtol=1e-12, atol=1e-12)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(class_means(features[order], labels[order], 3), expected)
    many = torch.vmap(lambda f, y: class_means(f, y, 3))(features.expand(2, 9, 5), labels.expand(2, 9))
    torch.testing.assert_close(many[1], expected, rtol=1e-12, atol=1e-12)
