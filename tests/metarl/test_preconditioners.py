"""Rules that precondition: by hand, as the networks they stand for, and as plain descent where they start."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from metarl.adaptation import adapt
from metarl.preconditioners import Geodesic, MetaCurvature, TNet
from metarl.update_rules import SGD, LearnedSGD

D = torch.float64


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def tensors(seed=0):
    """A convolution, a linear layer, a bias and a scalar."""
    shapes = {"conv": (4, 3, 2, 2), "linear": (3, 5), "bias": (3,), "scale": ()}
    return {name: draws(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("rule", [MetaCurvature, TNet])
def test_as_they_start_they_are_the_rule_they_wrap(rule):
    for base in (SGD(lr=0.3, clip=0.5), LearnedSGD(lr=0.2, per="parameter")):
        params, grads = tensors(), tensors(10)
        params |= rule(base).init(params, 2)
        after, plain = rule(base).update(params, grads, 1), base.update(params, grads, 1)
        for name in grads:
            torch.testing.assert_close(after[name], plain[name], rtol=0, atol=1e-14)


def test_a_mask_halves_the_step_at_first():
    rule, params, grads = TNet(SGD(lr=1.0), masked=True), tensors(), tensors(10)
    params |= rule.init(params, 1)
    after = rule.update(params, grads, 0)
    torch.testing.assert_close(after["linear"], params["linear"] - 0.5 * grads["linear"])
    torch.testing.assert_close(after["bias"], params["bias"] - grads["bias"])


def test_curvature_is_a_kronecker_product_on_the_flat_gradient():
    rule, grads = MetaCurvature(SGD(lr=1.0)), tensors(10)
    params = {name: torch.zeros_like(each) for name, each in grads.items()}
    params |= {name: draws(*each.shape, seed=30) for name, each in rule.init(params, 1).items()}
    after = rule.update(params, grads)
    for name in ("conv", "linear", "bias"):
        factors = [params[key] for key in sorted(params) if key.endswith(f".{name}")]
        whole = torch.ones(1, 1, dtype=D)
        for factor in factors:
            whole = torch.kron(whole, factor)
        torch.testing.assert_close(-after[name].flatten(), whole @ grads[name].flatten())
    assert [tuple(params[f"rule.curvature.{axis}.conv"].shape) for axis in range(3)] == [
        (4, 4),
        (3, 3),
        (4, 4),
    ]


@pytest.mark.parametrize("masked", [False, True])
def test_a_t_net_is_a_network_with_a_fixed_linear_map_after_each_adapted_one(masked):
    first, second, t, u = draws(4, 3), draws(2, 4, seed=1), draws(4, 4, seed=2), draws(2, 2, seed=3)
    x, y, noise = draws(6, 3, seed=4), draws(6, 2, seed=5), draws(4, seed=6)
    params = {"a": t @ first, "b": u @ second, "rule.transform.a": t, "rule.transform.b": u}
    mask = {}
    if masked:
        logits = draws(4, seed=7)
        params |= {"rule.mask.a": logits, "rule.mask.b": torch.zeros(2, dtype=D), "rule.noise.a": noise}
        mask = {"a": torch.sigmoid((logits + noise) / 0.5), "b": torch.full((2,), 0.5, dtype=D)}

    def folded(p, _):
        return F.mse_loss(torch.tanh(x @ p["a"].mT) @ p["b"].mT, y)

    def unfolded(p, _):
        return F.mse_loss(torch.tanh(x @ p["a"].mT @ t.mT) @ p["b"].mT @ u.mT, y)

    after = adapt(params, folded, None, rule=TNet(SGD(lr=0.3), masked, 0.5), steps=3, adapted=("a", "b"))
    w = {"a": first, "b": second}
    for _ in range(3):
        grads = torch.func.grad(unfolded)(w, None)
        w = {name: w[name] - 0.3 * mask.get(name, torch.ones(1)).unsqueeze(-1) * grads[name] for name in w}
    torch.testing.assert_close(after["a"], t @ w["a"])
    torch.testing.assert_close(after["b"], u @ w["b"])


def test_outputs_that_come_and_go_are_left_alone():
    params, grads = tensors(), tensors(10)
    curvature = MetaCurvature(SGD(lr=1.0), plain=("linear", "bias"))
    learned = curvature.init(params, 1)
    assert {name for name in learned if "conv" not in name} == {"rule.curvature.1.linear"}
    matrix = draws(5, 5, seed=20)
    after = curvature.update(params | learned | {"rule.curvature.1.linear": matrix}, grads)
    torch.testing.assert_close(after["linear"], params["linear"] - grads["linear"] @ matrix.mT)
    torch.testing.assert_close(after["bias"], params["bias"] - grads["bias"])
    net = TNet(SGD(lr=1.0), plain=("lin*",))
    assert list(net.init(params, 1)) == ["rule.transform.conv"]
    after = net.update(params | net.init(params, 1), grads)
    torch.testing.assert_close(after["linear"], params["linear"] - grads["linear"])


def orthogonal(rows, columns, seed=0):
    q = torch.linalg.qr(draws(max(rows, columns), min(rows, columns), seed=seed)).Q
    return q if rows >= columns else q.mT


def gram(w):
    w = w.flatten(1)
    return w @ w.mT if w.shape[0] <= w.shape[1] else w.mT @ w


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 3, 3, 3)])
def test_a_geodesic_stays_on_the_group(shape):
    w = orthogonal(shape[0], int(torch.tensor(shape[1:]).prod())).view(shape)
    params = {"w": w}
    for step in range(20):
        params |= Geodesic(SGD(lr=0.7)).update(params, {"w": draws(*shape, seed=step)})
    assert (params["w"] - w).abs().max() > 0.1
    identity = torch.eye(min(shape[0], w[0].numel()), dtype=D)
    assert (gram(params["w"]) - identity).abs().max() < 1e-10


@pytest.mark.parametrize("shape", [(4, 1), (1, 4)])
def test_a_single_row_or_column_turns_in_the_plane_of_itself_and_the_step(shape):
    w, grad = orthogonal(*shape), draws(*shape, seed=3)
    after = Geodesic(SGD(lr=0.5)).update({"w": w}, {"w": grad})["w"]
    across = grad - (grad * w).sum() * w
    angle = 0.5 * across.norm()  # of the great circle that the step's part across the vector points along
    torch.testing.assert_close(after, torch.cos(angle) * w - torch.sin(angle) * across / across.norm())


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)])
def test_its_first_order_is_the_gradient_projected_on_the_directions_that_turn(shape):
    w, grad = orthogonal(*shape), draws(*shape, seed=3)
    h = 1e-6
    ahead, behind = (Geodesic(SGD(lr=h)).update({"w": w}, {"w": s * grad})["w"] for s in (1.0, -1.0))
    found = (behind - ahead) / (2 * h)
    # Least squares over a basis of all turns of the smaller side.
    n = min(shape)
    basis = []
    for i in range(n):
        for j in range(i):
            turn = torch.zeros(n, n, dtype=D)
            turn[i, j], turn[j, i] = 1.0, -1.0
            basis.append((turn @ w if shape[0] <= shape[1] else w @ turn).flatten())
    matrix = torch.stack(basis, 1)
    projected = matrix @ torch.linalg.lstsq(matrix, grad.flatten().unsqueeze(1)).solution[:, 0]
    torch.testing.assert_close(found.flatten(), projected, rtol=0, atol=1e-9)
    assert (projected - grad.flatten()).abs().max() > 0.1


def test_in_the_plane_a_geodesic_is_a_rotation_by_the_slope():
    w, grad = torch.eye(2, dtype=D), torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=D)
    after = Geodesic(SGD(lr=0.3)).update({"w": w, "b": w[0]}, {"w": grad, "b": w[0]})
    cos, sin = torch.cos(torch.tensor(0.3, dtype=D)), torch.sin(torch.tensor(0.3, dtype=D))
    torch.testing.assert_close(after["w"], torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])]))
    torch.testing.assert_close(after["b"], 0.7 * w[0])  # a vector takes the plain step


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: TNet(temperature=0.0), "temperature"),
        (lambda: TNet().update(tensors(), tensors()), r"rule.transform.conv.*merge rule.init"),
        (lambda: MetaCurvature().update(tensors(), tensors()), r"rule.curvature.0.conv"),
        (partial(MetaCurvature().init, tensors(), 0), "steps"),
        (partial(TNet().init, tensors(), 1, ("con",)), "did you mean 'conv'"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
