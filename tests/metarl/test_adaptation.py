from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metarl.adaptation import adapt, adapt_step, inner_steps
from metarl.learned_optimizers import MetaLSTM
from metarl.nn import MLP, BatchNorm, ConvBlock, LayerNorm, LSTMCell, stateless
from metarl.preconditioners import Geodesic, MetaCurvature, TNet
from metarl.update_rules import SGD, LearnedSGD

D = torch.float64
STEPS = 2

RULES = {
    "sgd": SGD(lr=0.3),
    "clip-value": SGD(lr=0.3, clip=0.05, clip_by="value"),
    "clip-norm": SGD(lr=0.3, clip=0.1, clip_by="norm"),
    "per-step": LearnedSGD(lr=0.3, per="step"),
    "per-tensor": LearnedSGD(lr=0.3, per="tensor", clip=0.2, clip_by="norm"),
    "per-parameter": LearnedSGD(lr=0.3, per="parameter"),
    "meta-sgd": LearnedSGD(lr=0.3, per="parameter", shared_over_steps=True),
    "meta-curvature": MetaCurvature(SGD(lr=0.3)),
    "t-net": TNet(SGD(lr=0.3)),
    "mt-net": TNet(LearnedSGD(lr=0.3, per="tensor"), masked=True),
    "geodesic": Geodesic(LearnedSGD(lr=0.3, per="tensor")),
    "meta-lstm": MetaLSTM(hidden=3),
}
ADAPTED = {"all": "all", "head": ("head.*",), "context": ("context.*",)}


class Recurrent(nn.Module):
    """An LSTM cell over three time steps."""

    def __init__(self):
        super().__init__()
        self.cell = LSTMCell(4, 3)

    def forward(self, x):
        state = None
        for t in range(3):
            state = self.cell(x.roll(t, -1), state)
        return state[0]


class Normed(nn.Module):
    """Linear, layer norm, tanh."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), LayerNorm(3)

    def forward(self, x):
        return torch.tanh(self.norm(self.linear(x)))


class Images(nn.Module):
    """Features as one-channel images into a convolution block; flat features out."""

    def __init__(self, **block):
        super().__init__()
        self.block = nn.Sequential(ConvBlock(1, 2, act="tanh"), ConvBlock(2, 3, **block))

    def forward(self, x):
        grid = torch.sin(torch.arange(64, dtype=x.dtype).view(8, 8))
        return self.block(x.sum(-1).view(-1, 1, 1, 1) * grid + x[:, :1, None, None].square()).mean((2, 3))


BODIES = {
    "mlp": lambda: MLP((4, 5, 3)),
    "lstm": Recurrent,
    "layer-norm": Normed,
    **{
        f"conv-{norm}": (lambda norm=norm: Images(norm=norm, act="tanh"))
        for norm in ("batch", "layer", "group", "none")
    },
    "conv-stride": lambda: Images(halve="stride", act="softplus"),
    "conv-relu": lambda: Images(),
}


class Net(nn.Module):
    """A body whose input a context shifts, and a linear head."""

    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(3, 2)
        self.context = nn.ParameterDict({"z": nn.Parameter(torch.full((4,), 0.1))})

    def forward(self, x):
        return self.head(self.body(x + self.context["z"]))


def make(body, rule, adapted, seed=0):
    torch.manual_seed(seed)
    net = Net(BODIES[body]()).to(D)
    params = {
        name: (value + 0.1 * torch.randn_like(value)).detach() for name, value in net.named_parameters()
    }
    params |= {
        name: (value + 0.05 * torch.randn_like(value)).detach()
        for name, value in rule.init(params, STEPS, adapted).items()
    }
    f = stateless(net)
    data = torch.randn(3, 6, 4, dtype=D), torch.randn(3, 6, 2, dtype=D)  # support, as three tasks of six
    query = torch.randn(3, 6, 4, dtype=D), torch.randn(3, 6, 2, dtype=D)

    def loss(params, data):
        return F.mse_loss(f(params, data[0]), data[1])

    return params, loss, data, query


def meta_loss(rule, adapted, loss, **kw):
    def of(params, support, query):
        return loss(adapt(params, loss, support, rule=rule, steps=STEPS, adapted=adapted, **kw), query)

    return of


def gradient(of, params, *data):
    leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
    grads = torch.autograd.grad(of(leaves, *data), list(leaves.values()), allow_unused=True)
    filled = (torch.zeros_like(v) if g is None else g for v, g in zip(leaves.values(), grads, strict=True))
    return dict(zip(leaves, filled, strict=True))


def dot(a, b):
    return sum((a[name] * b[name]).sum() for name in a)


def close(a, b, tolerance=1e-12):
    scale = max(value.abs().max() for value in b.values())
    for name in b:
        torch.testing.assert_close(
            a[name], b[name], rtol=0, atol=float(tolerance * scale), msg=lambda m, n=name: f"{n}: {m}"
        )


CASES = sorted(
    {
        *product(("mlp",), RULES, ADAPTED),
        *product(BODIES, ("sgd", "per-tensor"), ("all",)),
        *product(("conv-batch", "lstm"), RULES, ("all", "head")),
    }
)


@pytest.mark.parametrize(("body", "rule", "adapted"), CASES)
def test_meta_gradient_equals_central_differences_and_vmap_equals_plain(body, rule, adapted):
    rule, adapted = RULES[rule], ADAPTED[adapted]
    params, loss, support, query = make(body, rule, adapted)
    of = meta_loss(rule, adapted, loss)
    one = [[v[0] for v in part] for part in (support, query)]
    exact = gradient(of, params, *one)

    for seed in range(2):
        torch.manual_seed(100 + seed)
        direction = {name: torch.randn_like(value) for name, value in params.items()}
        length = dot(direction, direction).sqrt()
        direction = {name: value / length for name, value in direction.items()}

        def along(h, direction=direction):
            return of({name: value + h * direction[name] for name, value in params.items()}, *one)

        h = 1e-5  # short, so that no pooling window changes its winner on the way
        difference = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
        size = dot(exact, exact).sqrt()
        assert abs(dot(exact, direction) - difference) < 2e-8 * max(float(size), 1e-2)

    def batched(params, support, query):
        return torch.vmap(of, (None, 0, 0))(params, support, query).mean()

    def looped(params, support, query):
        return torch.stack(
            [of(params, [v[t] for v in support], [v[t] for v in query]) for t in range(3)]
        ).mean()

    # torch.linalg.matrix_exp takes another number of terms for a batch than for one matrix.
    tolerance = 1e-9 if isinstance(rule, Geodesic) else 1e-12
    close(gradient(batched, params, support, query), gradient(looped, params, support, query), tolerance)


def test_learned_step_sizes_get_their_gradient_by_hand():
    rule = LearnedSGD(per="tensor")
    params = {"w": torch.tensor(2.0, dtype=D), "rule.lr.w": torch.tensor([0.1, 0.2], dtype=D)}

    def of(params):  # inner loss w^2 / 2: w -> w (1 - a) (1 - b)
        fast = adapt(params, lambda p, _: p["w"] ** 2 / 2, None, rule=rule, steps=2)
        return fast["w"]

    grads = gradient(of, params)
    assert grads["w"].item() == pytest.approx(0.9 * 0.8)
    assert grads["rule.lr.w"].tolist() == pytest.approx([-2 * 0.8, -2 * 0.9])


def test_first_order_is_the_gradient_at_the_adapted_params():
    rule = RULES["sgd"]
    params, loss, support, query = make("mlp", rule, "all")
    one = [[v[0] for v in part] for part in (support, query)]
    first = gradient(meta_loss(rule, "all", loss, first_order=True), params, *one)
    fast = {k: v.detach() for k, v in adapt(params, loss, one[0], rule=rule, steps=STEPS).items()}
    close(first, gradient(lambda p: loss(p, one[1]), fast))
    exact = gradient(meta_loss(rule, "all", loss), params, *one)
    assert max(float((first[k] - exact[k]).abs().max()) for k in exact) > 1e-2
    vmapped = torch.vmap(meta_loss(rule, "all", loss, first_order=True), (None, 0, 0))
    whole = gradient(lambda p: vmapped(p, support, query)[0], params)
    close(whole, first)


@pytest.mark.parametrize("body", ["mlp", "lstm", "conv-stride", "conv-batch"])
def test_hessian_of_the_meta_loss_under_vmap_equals_the_loop(body):
    rule = RULES["sgd"]
    params, loss, support, query = make(body, rule, "all")
    of = meta_loss(rule, "all", loss)
    direction = {name: torch.randn_like(value) for name, value in params.items()}

    def product_(of):
        leaves = {name: value.clone().requires_grad_() for name, value in params.items()}
        grads = torch.autograd.grad(of(leaves), list(leaves.values()), create_graph=True)
        slope = dot(dict(zip(leaves, grads, strict=True)), direction)
        second = torch.autograd.grad(slope, list(leaves.values()), allow_unused=True)
        return {
            n: torch.zeros_like(v) if g is None else g
            for (n, v), g in zip(leaves.items(), second, strict=True)
        }

    batched = product_(lambda p: torch.vmap(of, (None, 0, 0))(p, support, query).mean())
    looped = product_(
        lambda p: torch.stack(
            [of(p, [v[t] for v in support], [v[t] for v in query]) for t in range(3)]
        ).mean()
    )
    close(batched, looped, 1e-10)

    leaves = {name: value.clone() for name, value in params.items()}
    h = 1e-6
    mean = lambda p: torch.vmap(of, (None, 0, 0))(p, support, query).mean()  # noqa: E731
    up, down = (gradient(mean, {n: v + s * h * direction[n] for n, v in leaves.items()}) for s in (1, -1))
    close({n: (up[n] - down[n]) / (2 * h) for n in up}, looped, 1e-4)


def test_plain_evaluation_keeps_no_graph():
    rule = RULES["sgd"]
    params, loss, support, _ = make("mlp", rule, "all")
    fast, value = adapt_step(params, loss, [v[0] for v in support], rule=rule)
    assert not value.requires_grad
    assert not any(v.requires_grad for v in fast.values())
    leaves = {name: v.clone().requires_grad_() for name, v in params.items()}
    with torch.no_grad():
        again, _ = adapt_step(leaves, loss, [v[0] for v in support], rule=rule)
    assert not any(v.requires_grad for v in again.values())
    close(again, fast)
    torch.testing.assert_close(value, loss(params, [v[0] for v in support]))
    assert all(v.requires_grad for v in leaves.values())


def test_inference_mode_is_refused_by_name():
    params, loss, support, _ = make("mlp", SGD(), "all")
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=r"inference_mode forbids: use torch\.no_grad"),
    ):
        adapt(params, loss, [v[0] for v in support], rule=SGD())


def test_what_is_not_adapted_is_passed_through():
    params, loss, support, _ = make("mlp", SGD(), "all")
    fast = adapt(params, loss, [v[0] for v in support], rule=SGD(), adapted=("head.*",))
    assert list(fast) == list(params)
    assert [n for n in params if fast[n] is not params[n]] == ["head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("fused", "ours"),
    [(nn.BatchNorm1d(3, track_running_stats=False), BatchNorm(3)), (nn.LayerNorm(3), LayerNorm(3))],
)
def test_an_exact_vmapped_inner_loop_refuses_fused_norms(fused, ours):
    def run(norm, **kw):
        net = nn.Sequential(nn.Linear(2, 3), norm, nn.Linear(3, 1)).to(D)
        params = dict(net.named_parameters())

        def loss(params, x):
            return torch.func.functional_call(net, params, (x,)).square().mean()

        def task(params, x):
            return loss(adapt(params, loss, x, rule=SGD(), **kw), x)

        return torch.vmap(task, (None, 0))(params, torch.randn(2, 4, 2, dtype=D))

    with pytest.raises(ValueError, match=rf"{type(fused).__name__}.*metarl\.nn\.{type(ours).__name__}"):
        run(fused)
    assert run(fused, first_order=True).shape == (2,)
    assert run(ours).shape == (2,)


@pytest.mark.parametrize(
    ("loss", "kw", "match"),
    [
        (lambda p, _: p["w"], {}, "scalar"),
        (lambda p, _: 1.0, {}, "float"),
        (lambda p, _: torch.ones((), requires_grad=True) * 1, {}, "does not depend"),
        (lambda p, _: torch.ones(()), {}, "does not depend"),
        (lambda p, _: p["w"].sum(), {"adapted": ("v",)}, "matches nothing"),
        (lambda p, _: p["w"].sum(), {"steps": -1}, "steps"),
        (lambda p, _: p["w"].sum(), {"rule": LearnedSGD()}, "rule.lr.w"),
    ],
)
def test_mistakes_are_named(loss, kw, match):
    with pytest.raises(ValueError, match=match):
        adapt({"w": torch.zeros(2, requires_grad=True)}, loss, None, **{"rule": SGD(), **kw})


def test_inner_steps_may_each_have_data_of_their_own():
    start = {"x": torch.tensor(1.0, dtype=D, requires_grad=True)}

    def loss(params, target):
        return (params["x"] - target).square()

    after = [each["x"] for each in inner_steps(start, loss, [3.0, 0.0, 3.0], rule=SGD(0.25))]
    assert [float(each.detach()) for each in after] == [2.0, 1.0, 2.0]  # half of the way each time
    (slope,) = torch.autograd.grad(after[-1], start["x"])
    assert slope == 0.125
    same = [each["x"] for each in inner_steps(start, loss, [3.0] * 3, rule=SGD(0.25))][-1]
    assert torch.equal(same, adapt(start, loss, 3.0, rule=SGD(0.25), steps=3)["x"])
    assert list(inner_steps(start, loss, [], rule=SGD(0.25))) == []
