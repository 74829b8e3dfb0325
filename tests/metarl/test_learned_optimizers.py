"""The LSTM meta-learner: by hand, as plain descent, and what it remembers."""

import math

import pytest
import torch

from metarl.adaptation import adapt, adapt_step
from metarl.learned_optimizers import MetaLSTM, log_magnitude
from metarl.update_rules import SGD

D = torch.float64


def params_with_rule(rule, seed=0):
    torch.manual_seed(seed)
    params = {"w": torch.randn(2, 3, dtype=D), "b": torch.randn(2, dtype=D)}
    return params | rule.init(params, 3)


def loss(params, x):
    return (x @ params["w"].mT + params["b"]).square().mean()


def test_log_magnitude_by_hand():
    x = torch.tensor([math.e, -math.exp(-2.0), math.exp(-4.0), 0.0, -1.0], dtype=D)
    expected = [[1 / 3, 1], [-2 / 3, -1], [-1, math.exp(-1)], [-1, 0], [0, -1]]
    torch.testing.assert_close(log_magnitude(x, 3.0), torch.tensor(expected, dtype=D))
    assert log_magnitude(torch.tensor(1.0)).shape == (2,)


def test_log_magnitude_has_a_finite_slope_at_zero():
    x = torch.zeros(2, dtype=D, requires_grad=True)
    log_magnitude(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2,), math.exp(10), dtype=D))


def test_it_starts_near_plain_descent():
    rule = MetaLSTM()
    params = params_with_rule(rule)
    assert 4 <= params["rule.forget.bias"] <= 5
    assert -5 <= params["rule.input.bias"] <= -4
    assert all(each.requires_grad for name, each in params.items() if name.startswith("rule."))
    assert params["rule.lstm.weight_ih"].shape == (80, 4)


def test_with_gates_fixed_it_is_plain_descent():
    rule = MetaLSTM(hidden=4)
    params = {name: each.detach() for name, each in params_with_rule(rule).items()}
    lr = 0.3
    for gate, bias in (("input", math.log(lr / (1 - lr))), ("forget", 60.0)):
        params[f"rule.{gate}.weight"] = torch.zeros(6, dtype=D)
        params[f"rule.{gate}.bias"] = torch.tensor(bias, dtype=D)
    x = torch.randn(5, 3, dtype=D)
    found = adapt(params, loss, x, rule=rule, steps=4)
    plain = adapt(params, loss, x, rule=SGD(lr=lr), steps=4)
    for name in ("w", "b"):
        torch.testing.assert_close(found[name], plain[name], rtol=0, atol=1e-14)


def test_two_steps_by_torchs_own_lstm():
    rule = MetaLSTM(hidden=4)
    params = {name: each.detach() for name, each in params_with_rule(rule).items()}
    params = {n: torch.randn_like(v) if n.startswith("rule.") else v for n, v in params.items()}
    cell = torch.nn.LSTMCell(4, 4).to(D)
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            getattr(cell, name).copy_(params[f"rule.lstm.{name}"])
        cell.bias_ih.copy_(params["rule.lstm.bias"])
        cell.bias_hh.zero_()
    x = torch.randn(5, 3, dtype=D)
    theta = torch.cat([params["w"].flatten(), params["b"]])
    state, before = None, {"input": torch.zeros(8, dtype=D), "forget": torch.zeros(8, dtype=D)}
    for _ in range(2):
        theta = theta.detach().requires_grad_()
        value = loss({"w": theta[:6].view(2, 3), "b": theta[6:]}, x)
        (grad,) = torch.autograd.grad(value, theta)
        seen = torch.stack([torch.cat([log_magnitude(g), log_magnitude(value.detach())]) for g in grad])
        state = cell(seen, state)
        for gate in before:
            features = torch.cat([state[0], theta.detach()[:, None], before[gate][:, None]], 1)
            before[gate] = torch.sigmoid(
                features @ params[f"rule.{gate}.weight"] + params[f"rule.{gate}.bias"]
            )
        theta = before["forget"] * theta - before["input"] * grad
    found = adapt(params, loss, x, rule=rule, steps=2)
    torch.testing.assert_close(torch.cat([found["w"].flatten(), found["b"]]), theta)
    torch.testing.assert_close(found["rule.state.input"], before["input"])


def test_first_order_takes_gradients_and_losses_as_constants():
    rule = MetaLSTM(hidden=3)
    params, x = params_with_rule(rule), torch.randn(5, 3, dtype=D)
    params["w"].requires_grad_()

    def slope(**kw):
        fast = adapt(params, loss, x, rule=rule, steps=1, **kw)
        return torch.autograd.grad(fast["w"].sum(), params["w"])[0], fast

    constant, fast = slope(first_order=True)
    exact, _ = slope()
    # d/dtheta of f theta - i g, with g fixed: f itself, and what theta does in the gates.
    f, i = (fast[f"rule.state.{gate}"][:6].view(2, 3) for gate in ("forget", "input"))
    into = {gate: params[f"rule.{gate}.weight"][3] for gate in ("forget", "input")}
    (grad,) = torch.autograd.grad(loss(params, x), params["w"])
    by_hand = f + params["w"] * f * (1 - f) * into["forget"] - grad * i * (1 - i) * into["input"]
    torch.testing.assert_close(constant, by_hand)
    assert (exact - constant).abs().max() > 1e-4


def test_a_second_adaptation_starts_from_scratch():
    rule = MetaLSTM(hidden=3)
    params, x = params_with_rule(rule), torch.randn(5, 3, dtype=D)
    after, _ = adapt_step(params, loss, x, rule=rule, step=0)
    again, _ = adapt_step(after | {"w": params["w"], "b": params["b"]}, loss, x, rule=rule, step=0)
    torch.testing.assert_close(again["w"], after["w"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MetaLSTM(hidden=0), "hidden"),
        (lambda: MetaLSTM(scale=0.0), "scale"),
        (lambda: MetaLSTM().update({"w": torch.zeros(2)}, {"w": torch.zeros(2)}), "loss"),
        (
            lambda: MetaLSTM().update({"w": torch.zeros(2)}, {"w": torch.zeros(2)}, 0, torch.ones(())),
            "rule.forget.bias.*merge",
        ),
        (
            lambda: MetaLSTM().update(
                params_with_rule(MetaLSTM()), {"w": torch.zeros(2, 3, dtype=D)}, 1, torch.ones((), dtype=D)
            ),
            "rule.state.hidden.*step before",
        ),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
