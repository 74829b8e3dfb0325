"""The LSTM meta-learner as a method: its meta-gradient, and what it is with its gates fixed."""

import math

import pytest
import torch

from metarl.supervised import preset
from metarl.tasks import over_tasks
from tests.supervised.methods.smooth import assert_slope, config_of, episode, episodes, gradients, made, wave

INNER = {"steps": 2, "test_steps": 2}


def fixed(params, lr):
    """The params with gates that are the same for all: forget 1, input `lr`."""
    changed = dict(params)
    for gate, bias in (("input", math.log(lr / (1 - lr))), ("forget", 60.0)):
        changed[f"rule.{gate}.weight"] = torch.zeros_like(params[f"rule.{gate}.weight"])
        changed[f"rule.{gate}.bias"] = torch.full_like(params[f"rule.{gate}.bias"], bias)
    return changed


@pytest.mark.parametrize("data", ["strokes", "sinusoid"])
def test_the_exact_meta_gradient_is_that_of_finite_differences(data):
    config = config_of("meta-lstm", data, inner={**INNER, "first_order": False}, hidden=4)
    method, params = made(config, "meta-lstm", data)
    one = episode() if data == "strokes" else wave()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert all(each.any() for each in grads.values())
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


def test_the_papers_gradient_of_the_lstm_is_exact_where_there_is_one_step():
    """After a single step the constants do not depend on the LSTM, only on the start."""
    method, params = made(config_of("meta-lstm", inner={"steps": 1}, hidden=4), "meta-lstm")
    one = episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    learned = {key: each for key, each in grads.items() if key.startswith("rule.")}
    assert len(learned) == 7
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, learned)


@pytest.mark.parametrize("first_order", [True, False])
def test_vmap_chunks_and_loop_agree(first_order):
    config = config_of("meta-lstm", inner={**INNER, "first_order": first_order}, hidden=4)
    method, params = made(config, "meta-lstm")

    def found(**how):
        losses = over_tasks(lambda p, one: method.task(p, one, "transductive")[0], **how)(params, episodes(3))
        return gradients(losses.sum(), params)

    loop = found(how="loop")
    torch.testing.assert_close(found(how="vmap"), loop, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found(how="vmap", chunk=2), loop, rtol=1e-9, atol=1e-11)


def test_with_its_gates_fixed_it_is_maml():
    lstm, params = made(config_of("meta-lstm", inner={**INNER, "first_order": False}), "meta-lstm")
    maml, _ = made(config_of("maml", inner={"steps": 2, "lr": 0.3}), "maml")
    one = episode()
    plain = {key: each for key, each in params.items() if not key.startswith("rule.")}
    losses = (
        lstm.task(fixed(params, 0.3), one, "transductive")[0],
        maml.task(plain, one, "transductive")[0],
    )
    torch.testing.assert_close(*losses)
    found = [gradients(each, plain) for each in losses]
    torch.testing.assert_close(found[0], found[1])


def test_the_papers_settings():
    one, five = (preset("meta-lstm", "mini-imagenet", 5, shot) for shot in (1, 5))
    assert (one.inner.steps, five.inner.steps) == (12, 8)
    assert one.inner.first_order
    assert (one.training.tasks, one.training.query, one.training.max_grad_norm) == (1, 15, 0.25)
    with pytest.raises(ValueError, match="hidden=0, expected"):
        config_of("meta-lstm", hidden=0)
