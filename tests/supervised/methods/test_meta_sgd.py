"""Meta-SGD: the meta-gradient of weights and step sizes, and MAML as its special case."""

import pytest
import torch

from tests.supervised.methods.smooth import (
    assert_slope,
    config_of,
    episode,
    gradients,
    made,
    wave,
)


@pytest.mark.parametrize("data", ["strokes", "sinusoid"])
def test_the_meta_gradient_is_that_of_finite_differences(data):
    method, params = made(config_of("meta-sgd", data, inner={"steps": 2}), "meta-sgd", data)
    one = wave() if data == "sinusoid" else episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert grads["rule.lr.net.layers.0.weight" if data == "sinusoid" else "rule.lr.head.bias"].abs().max() > 0
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


def test_with_a_constant_step_size_it_is_maml():
    inner = {"steps": 3, "lr": 0.2}
    ours, params = made(config_of("meta-sgd", inner=inner), "meta-sgd")
    maml, _ = made(config_of("maml", inner=inner), "maml")
    equal = {
        name: torch.full_like(each, 0.2).requires_grad_() if name.startswith("rule.") else each
        for name, each in params.items()
    }
    plain = {name: each for name, each in equal.items() if not name.startswith("rule.")}
    one = episode()
    losses = ours.task(equal, one, "transductive")[0], maml.task(plain, one, "transductive")[0]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    mine, theirs = gradients(losses[0], equal), gradients(losses[1], plain)
    torch.testing.assert_close({name: mine[name] for name in theirs}, theirs, rtol=1e-9, atol=1e-12)


def test_every_weight_has_a_step_size_that_all_steps_share():
    params = made(config_of("meta-sgd", inner={"steps": 2}), "meta-sgd")[1]
    sizes = {name: each for name, each in params.items() if name.startswith("rule.lr.")}
    weights = {name: each for name, each in params.items() if not name.startswith("rule.")}
    assert {name.removeprefix("rule.lr."): tuple(each.shape) for name, each in sizes.items()} == {
        name: (1, *each.shape) for name, each in weights.items()
    }


def test_step_sizes_of_the_head_follow_the_ways():
    method, params = made(config_of("meta-sgd"), "meta-sgd")
    shown = episode()
    two = shown._replace(
        support=shown.support[:4],
        support_labels=shown.support_labels[:4],
        query=shown.query[:4],
        query_labels=shown.query_labels[:4],
        classes=shown.classes[:2],
    )
    fewer = {
        name: each[..., :2, :] if name.endswith("head.weight") else each[..., :2]
        for name, each in params.items()
        if ".head." in f".{name}"
    }
    with torch.no_grad():
        expected = method.task({**params, **fewer}, two, "transductive")[1]
        torch.testing.assert_close(method.task(params, two, "transductive")[1], expected)
