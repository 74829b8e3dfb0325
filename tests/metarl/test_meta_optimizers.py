"""Gradient steps against torch's own, the trust region against hand-computed and explicit natural gradients."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from metarl.gradients import conjugate_gradient
from metarl.meta_optimizers import GradientSteps, NonFinite, TrustRegion, annealed, milestones

D = torch.float64


def test_sgd_by_hand():
    x = torch.tensor([3.0, 4.0], requires_grad=True)  # loss |x|^2 / 2, gradient x, norm 5
    metrics = GradientSteps({"x": x}, lr=0.5, kind="sgd").update(lambda: (x.square().sum() / 2, {}))
    assert x.tolist() == [1.5, 2.0]
    assert metrics == {"loss": 12.5, "grad_norm": 5.0, "epochs": 1.0}


def test_some_parameters_have_a_rate_of_their_own_which_the_schedule_lowers_too():
    x, y = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = GradientSteps(
        {"x": x, "y": y}, lr=0.1, kind="sgd", rates={"y": 2.0}, schedule=milestones([1], 0.5)
    )
    for _ in range(2):
        optimizer.update(lambda: (x.sum() + y.sum(), {}))
    torch.testing.assert_close(x.detach(), torch.tensor([1 - 0.1 - 0.05]))
    torch.testing.assert_close(y.detach(), torch.tensor([1 - 2.0 - 1.0]))


def test_gradient_norm_is_clipped_over_all_parameters():
    x, y = (torch.tensor([value], requires_grad=True) for value in (3.0, 4.0))
    optimizer = GradientSteps([x, y], lr=1.0, kind="sgd", max_grad_norm=1.0)
    metrics = optimizer.update(lambda: ((x.square() + y.square()).sum() / 2, {}))
    assert metrics["grad_norm"] == 5.0
    torch.testing.assert_close(torch.cat([x, y]).detach(), torch.tensor([3 - 0.6, 4 - 0.8]))


def test_adam_epochs_are_torchs_adam():
    ours, theirs = (torch.tensor([1.0, -2.0], requires_grad=True) for _ in range(2))
    GradientSteps([ours], lr=0.1, epochs=5).update(lambda: ((ours**4).sum(), {}))
    adam = torch.optim.Adam([theirs], lr=0.1)
    for _ in range(5):
        adam.zero_grad()
        (theirs**4).sum().backward()
        adam.step()
    assert torch.equal(ours, theirs)


def test_stop_ends_the_epochs_before_the_step():
    x = torch.tensor(8.0, requires_grad=True)
    optimizer = GradientSteps([x], lr=0.5, epochs=10, kind="sgd")  # halves x each epoch
    metrics = optimizer.update(lambda: (x.square() / 2, {"stop": torch.tensor(bool(x < 3)), "x": x}))
    assert x.item() == 2.0
    assert metrics["epochs"] == 2
    assert "stop" not in metrics
    assert metrics["x"] == 2.0


def test_frozen_stays_and_unused_gets_a_zero_gradient():
    used, unused = (torch.ones(2, requires_grad=True) for _ in range(2))
    frozen = torch.ones(2)
    optimizer = GradientSteps({"a": used, "b": unused, "c": frozen}, lr=0.1)
    optimizer.update(lambda: ((used * frozen).sum(), {}))
    assert list(optimizer.parameters) == ["a", "b"]
    assert frozen.tolist() == unused.tolist() == [1.0, 1.0]
    assert used[0] < 1
    region = TrustRegion({"a": used, "b": unused, "c": frozen}, max_kl=0.01)
    start = used.detach().clone()
    assert region.update(lambda: (used.sum(), {"kl": (used - start).square().sum() / 2}))["accepted"] == 1
    assert frozen.tolist() == unused.tolist() == [1.0, 1.0]


def test_values_are_clipped_before_the_norm_is_and_decay_comes_after():
    x = torch.tensor([3.0, -40.0], requires_grad=True)  # gradient (3, -40), cut to (3, -4), norm 5, then 1
    optimizer = GradientSteps([x], 1.0, kind="sgd", max_grad_value=4.0, max_grad_norm=1.0, weight_decay=0.1)
    metrics = optimizer.update(lambda: (x.square().sum() / 2, {}))
    assert metrics["grad_norm"] == pytest.approx(math.sqrt(1609))
    torch.testing.assert_close(x.detach(), torch.tensor([3 - 0.6 - 0.3, -40 + 0.8 + 4.0]))


def test_only_what_is_to_decay_does():
    a, b = (torch.tensor([2.0], requires_grad=True) for _ in range(2))
    optimizer = GradientSteps(
        {"a": a, "b": b}, 0.5, kind="sgd", weight_decay=0.1, decayed=["a"], rates={"a": 1.0}
    )
    optimizer.update(lambda: ((a + b).sum(), {}))
    assert (a.item(), b.item()) == pytest.approx((2 - 1.0 * (1 + 0.2), 2 - 0.5))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_momentum_decay_and_schedule_are_torchs(kind):
    momentum = {"momentum": 0.9} if kind == "sgd" else {}
    ours, theirs = (torch.tensor([1.0, -2.0], requires_grad=True) for _ in range(2))
    optimizer = GradientSteps(
        [ours], 0.1, kind=kind, weight_decay=0.01, schedule=milestones([4, 2], 0.5), **momentum
    )
    torchs = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[kind]
    other = torchs([theirs], lr=0.1, weight_decay=0.01, **momentum)
    falls = torch.optim.lr_scheduler.MultiStepLR(other, [2, 4], 0.5)
    rates = []
    for _ in range(6):
        rates.append(optimizer.update(lambda: ((ours**2).sum(), {}))["lr"])
        other.zero_grad()
        (theirs**2).sum().backward()
        other.step()
        falls.step()
    assert torch.equal(ours, theirs)
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


SETTINGS = [
    ("adam", {}),
    ("sgd", {}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.1}),
    ("adam", {"schedule": milestones([2, 4], 0.1)}),
    ("sgd", {"schedule": milestones([2, 4], 0.1), "momentum": 0.5}),
]


@pytest.mark.parametrize(("kind", "more"), SETTINGS)
def test_state_goes_on_exactly(kind, more):
    def descend(optimizer, x, times):
        for _ in range(times):
            optimizer.update(lambda: ((x**4).sum(), {}))

    whole = torch.tensor([1.0, -2.0], requires_grad=True)
    descend(GradientSteps({"x": whole}, 0.01, kind=kind, **more), whole, 6)
    first = torch.tensor([1.0, -2.0], requires_grad=True)
    before = GradientSteps({"x": first}, 0.01, kind=kind, **more)
    descend(before, first, 3)
    second = first.detach().clone().requires_grad_()
    after = GradientSteps({"x": second}, 0.01, kind=kind, **more)
    after.load_state_dict(before.state_dict())
    descend(after, second, 3)
    assert torch.equal(second, whole)


def test_state_that_does_not_fit_is_refused():
    x, y = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    optimizer = GradientSteps({"x": x}, 0.1)
    optimizer.update(lambda: (x.sum(), {}))
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="shape"):
        GradientSteps({"x": y}, 0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="no parameter"):
        GradientSteps({"z": x}, 0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="trust region"):
        TrustRegion({"x": x}, 0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="schedule"):
        GradientSteps({"x": x}, 0.1, schedule=milestones([1], 0.5)).load_state_dict(state)


def test_what_is_not_finite_is_named_and_changes_nothing():
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    for optimizer in (GradientSteps({"x": x}, 0.1), TrustRegion({"x": x}, 0.1)):
        with pytest.raises(NonFinite, match="loss"):
            optimizer.update(lambda: (x.log().sum(), {"kl": x.square().sum()}))
        with pytest.raises(NonFinite, match="gradient of x"):
            optimizer.update(lambda: (x.sqrt().sum(), {"kl": x.square().sum()}))
    assert x.tolist() == [0.0, 1.0]


def test_mistakes_are_explained():
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="none of the 1"):
        GradientSteps([torch.ones(2)], 0.1)
    with pytest.raises(ValueError, match="lr=-1"):
        GradientSteps([x], -1)
    with pytest.raises(ValueError, match=r"momentum=0\.9"):
        GradientSteps([x], 0.1, momentum=0.9)
    with pytest.raises(ValueError, match="max_grad_value=0"):
        GradientSteps([x], 0.1, max_grad_value=0)
    with pytest.raises(ValueError, match="milestones"):
        milestones([0], 0.5)
    with pytest.raises(ValueError, match="depends on no parameter"):
        GradientSteps([x], 0.1).update(lambda: (torch.tensor(1.0), {}))
    with pytest.raises(ValueError, match="expected a scalar"):
        GradientSteps([x], 0.1).update(lambda: (x, {}))
    for kl in (None, 0.1, torch.tensor(0.1)):
        with pytest.raises(ValueError, match="metrics\\['kl'\\]"):
            TrustRegion([x], 0.1).update(lambda kl=kl: (x.sum(), {"kl": kl}))


def test_conjugate_gradient_solves_a_linear_system():
    rows = torch.randn(6, 6, dtype=D, generator=torch.Generator().manual_seed(0))
    matrix, target = rows @ rows.T + torch.eye(6, dtype=D), torch.arange(6, dtype=D)
    solution = conjugate_gradient(lambda v: matrix @ v, target, 6, tolerance=0)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, target), rtol=1e-8, atol=1e-8)


def test_conjugate_gradient_keeps_what_it_has_where_the_matrix_is_not_positive():
    signs = torch.tensor([1.0, -1.0], dtype=D)  # no curvature along (1, 1)
    assert conjugate_gradient(lambda v: signs * v, torch.ones(2, dtype=D), 2).tolist() == [0, 0]
    one = torch.tensor([1.0, 0.0], dtype=D)
    assert conjugate_gradient(lambda v: signs * v, one, 2).tolist() == [1, 0]
    assert conjugate_gradient(lambda v: -v, one, 2).tolist() == [0, 0]


def test_trust_region_on_a_quadratic_by_hand():
    # loss x + 2y, KL (4 x^2 + y^2) / 2: F = diag(4, 1), F^-1 g = (1/4, 2), g' F^-1 g = 17/4,
    # so the full step is -sqrt(2 * 0.17 / 4.25) (1/4, 2) = -sqrt(0.08) (1/4, 2); its KL is 0.17 exactly.
    x, y = (torch.zeros((), dtype=D, requires_grad=True) for _ in range(2))

    def loss():
        return x + 2 * y, {"kl": (4 * x**2 + y**2) / 2}

    metrics = TrustRegion({"x": x, "y": y}, max_kl=0.17, damping=1e-9).update(loss)
    size = math.sqrt(0.08)
    assert (x.item(), y.item()) == pytest.approx((-size / 4, -size * 2), rel=1e-6)
    assert metrics["kl"] == pytest.approx(0.17, rel=1e-6)
    assert metrics["improvement"] == pytest.approx(4.25 * size, rel=1e-6)
    assert (metrics["accepted"], metrics["line_search_steps"]) == (1, 1)
    assert metrics["loss"] == 0
    assert metrics["grad_norm"] == pytest.approx(math.sqrt(5))


def test_moments_lie_beside_their_parameter_also_without_axes():
    here = torch.tensor(2.0, requires_grad=True)
    before = GradientSteps({"x": here}, 0.1)
    before.update(lambda: (here.square(), {}))
    elsewhere = torch.empty((), device="meta", requires_grad=True)
    after = GradientSteps({"x": elsewhere}, 0.1)
    after.load_state_dict(before.state_dict())
    kept = after._optimizer.state[elsewhere]
    assert {name: each.device.type for name, each in kept.items()} == {
        "step": "cpu",
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }


def test_the_state_of_another_optimiser_is_refused():
    def stepped(names, **kind):
        parameters = {name: torch.ones(2, requires_grad=True) for name in names}
        steps = GradientSteps(parameters, 0.1, **kind)
        steps.update(lambda: (sum(each.sum() for each in parameters.values()), {}))
        return steps

    sgd, adam = stepped("xy", kind="sgd", momentum=0.9), stepped("xy")
    with pytest.raises(
        ValueError, match=r"'x/momentum_buffer' is of another kind.*step, exp_avg, exp_avg_sq"
    ):
        adam.load_state_dict(sgd.state_dict())
    with pytest.raises(ValueError, match="'x/step' is of another kind"):
        sgd.load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match="remembers nothing of y"):
        adam.load_state_dict(stepped("x").state_dict())
    adam.load_state_dict({})  # before its first step there is nothing to remember
    with pytest.raises(ValueError, match=r"xx.*did you mean 'x'"):
        GradientSteps({"x": torch.ones(2, requires_grad=True)}, 0.1, rates={"xx": 0.2})


def test_trust_region_shrinks_until_the_loss_falls():
    # loss x + 10 x^2 with KL x^2 / 2 and max_kl 1/2: the full step is -1; x + 10 x^2 < 0 needs |x| < 1/10,
    # first met by 0.5^4.
    x = torch.zeros((), dtype=D, requires_grad=True)
    region = TrustRegion([x], max_kl=0.5, damping=0, shrink=0.5)
    metrics = region.update(lambda: (x + 10 * x**2, {"kl": 0.999 * x**2 / 2}))
    assert metrics["line_search_steps"] == 5
    assert x.item() == pytest.approx(-(0.5**4), rel=1e-2)


def test_trust_region_shrinks_until_the_kl_is_within_its_bound():
    # the Hessian at 0 promises KL x^2 / 2, but x^4 comes on top: 0.5 s^2 + 8 s^4 <= 0.5 first holds for 0.5
    x = torch.zeros((), dtype=D, requires_grad=True)
    metrics = TrustRegion([x], max_kl=0.5, damping=0, shrink=0.5).update(
        lambda: (x + 0.0, {"kl": x**2 / 2 + 4 * x**4})
    )
    assert metrics["line_search_steps"] == 2
    assert x.item() == pytest.approx(-0.5)
    assert metrics["kl"] == pytest.approx(0.375)


def test_trust_region_that_finds_nothing_leaves_the_parameters():
    y = torch.tensor(
        0.0, dtype=D, requires_grad=True
    )  # falls at first, and rises within every step that is tried
    metrics = TrustRegion([y], max_kl=0.5, backtracks=4).update(
        lambda: (y + 1e6 * y.square(), {"kl": y.square() / 2})
    )
    assert metrics["accepted"] == metrics["kl"] == metrics["improvement"] == 0
    assert metrics["line_search_steps"] == 4
    assert y.item() == 0.0


def test_trust_region_is_the_natural_gradient_of_a_categorical_policy():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(50, 3, dtype=D, generator=generator)
    weight = torch.randn(4, 3, dtype=D, generator=generator).requires_grad_()
    bias = torch.zeros(4, dtype=D).requires_grad_()
    advantages = torch.randn(50, 4, dtype=D, generator=generator)
    old = Categorical(logits=(states @ weight.T + bias).detach())

    def loss():
        new = Categorical(logits=states @ weight.T + bias)
        return -(new.probs * advantages).sum(-1).mean(), {"kl": kl_divergence(old, new).mean()}

    # The Fisher matrix from its definition: the mean over states and actions of score times score
    fisher = torch.zeros(16, 16, dtype=D)
    for state, probs in zip(states, old.probs, strict=True):
        for action in range(4):
            dlogits = -probs.clone()
            dlogits[action] += 1
            score = torch.cat([torch.outer(dlogits, state).reshape(-1), dlogits])
            fisher += probs[action] * torch.outer(score, score) / len(states)
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss()[0], (weight, bias))])
    damped = fisher + 1e-3 * torch.eye(16, dtype=D)
    direction = torch.linalg.solve(damped, gradient)
    step = -math.sqrt(2 * 1e-4 / float(direction @ damped @ direction)) * direction
    before = torch.cat([weight.detach().reshape(-1), bias.detach()])

    metrics = TrustRegion({"w": weight, "b": bias}, max_kl=1e-4, cg_steps=30, damping=1e-3).update(loss)
    moved = torch.cat([weight.detach().reshape(-1), bias.detach()]) - before
    scale = 0.8 ** (metrics["line_search_steps"] - 1)
    assert metrics["accepted"] == 1
    torch.testing.assert_close(moved, scale * step, rtol=1e-4, atol=1e-7)
    assert 0 < metrics["kl"] <= 1e-4


def test_a_step_size_may_fall_all_the_time():
    line = annealed("linear", 4)
    assert [line(done) for done in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert annealed("linear", 4, 0.2)(2) == pytest.approx(0.6)
    wave = annealed("cosine", 4, 0.1)
    expected = [1.0, 0.1 + 0.9 * (2 + math.sqrt(2)) / 4, 0.55, 0.1 + 0.9 * (2 - math.sqrt(2)) / 4, 0.1]
    assert [wave(done) for done in range(5)] == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [("step", 4, 0.0), ("linear", 0, 0.0), ("cosine", 4, 1.5)])
def test_annealing_refuses(wrong):
    with pytest.raises(ValueError, match="expected"):
        annealed(*wrong)
