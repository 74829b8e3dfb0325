"""MAML along geodesics: its constraint in the inner loop, its meta-gradient."""

import pytest
import torch

from metarl.preconditioners import Geodesic
from metarl.supervised.methods import build
from metarl.tasks import over_tasks
from tests.supervised.methods.smooth import (
    QUERY,
    SHOT,
    WAY,
    assert_slope,
    config_of,
    episode,
    episodes,
    gradients,
    made,
    store,
    wave,
)

INNER = {"steps": 3, "lr": 0.3}


def prepared(data="strokes", lr=0.3):
    return made(config_of("geodesic", data, inner={**INNER, "lr": lr}), "geodesic", data)


@pytest.fixture
def states(monkeypatch):
    """The params before every inner step, and after the last."""
    seen, update = [], Geodesic.update

    def watched(self, params, grads, step=0, loss=None):
        after = update(self, params, grads, step, loss)
        if step == 0:
            seen.append(dict(params))
        seen.append({**params, **after})
        return after

    monkeypatch.setattr(Geodesic, "update", watched)
    return seen


def matrices(params):
    return {
        name: each.flatten(1) for name, each in params.items() if name.startswith("net.") and each.dim() > 1
    }


def test_orthonormal_layers_stay_orthonormal_in_every_inner_step(states):
    torch.manual_seed(0)
    method = build("geodesic", config_of("geodesic", inner=INNER), store().image, 8, WAY, SHOT)
    method.module.double()
    method.task(dict(method.module.named_parameters()), episode(), "transductive")
    assert len(states) == INNER["steps"] + 1
    for state in states:
        for value in matrices(state).values():
            small = value if value.shape[0] <= value.shape[1] else value.mT
            one = torch.eye(len(small), dtype=torch.float64)
            torch.testing.assert_close(small @ small.mT, one, rtol=0, atol=1e-6)  # it starts in float32
    assert_moved(states)


def assert_moved(states):
    first, last = matrices(states[0]), matrices(states[-1])
    assert len(first) == 4
    assert all((first[name] - last[name]).abs().max() > 1e-3 for name in first)


def test_trained_layers_keep_their_singular_values(states):
    method, params = prepared()
    method.task(params, episode(), "transductive")
    start = {name: torch.linalg.svdvals(value) for name, value in matrices(states[0]).items()}
    assert max((value.max() - value.min()).item() for value in start.values()) > 0.1  # off the group
    for state in states[1:]:
        for name, value in matrices(state).items():
            torch.testing.assert_close(torch.linalg.svdvals(value), start[name], rtol=0, atol=1e-12)
    assert_moved(states)


def test_the_head_and_single_axes_take_plain_steps(monkeypatch):
    seen, update = [], Geodesic.update

    def watched(self, params, grads, step=0, loss=None):
        seen.append((params, grads, update(self, params, grads, step, loss)))
        return seen[-1][-1]

    monkeypatch.setattr(Geodesic, "update", watched)
    method, params = prepared()
    method.task(params, episode(), "transductive")
    before, grads, after = seen[0]
    for name in ("head.weight", "head.bias", "net.blocks.0.norm.bias"):
        assert grads[name].abs().max() > 0
        torch.testing.assert_close(after[name], before[name] - 0.3 * grads[name])
    name = "net.blocks.1.conv.weight"
    assert (after[name] - before[name] + 0.3 * grads[name]).abs().max() > 1e-4


@pytest.mark.parametrize(("data", "lr"), [("strokes", 0.3), ("sinusoid", 0.05)])
def test_the_meta_gradient_is_that_of_finite_differences(data, lr):
    method, params = prepared(data, lr)
    one = episode() if data == "strokes" else wave()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert all(each.any() for name, each in grads.items() if name.endswith("weight"))
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


def test_vmap_and_loop_agree():
    method, params = prepared()

    def found(how):
        task = over_tasks(lambda p, one: method.task(p, one, "transductive")[0], how=how)
        return gradients(task(params, episodes(3)).sum(), params)

    # The matrix exponential takes another polynomial for many matrices than for one: not to the last digits.
    torch.testing.assert_close(found("vmap"), found("loop"), rtol=1e-7, atol=1e-9)


def test_any_number_of_ways_will_do():
    method, params = prepared()
    one = episode()
    two = one._replace(
        support=one.support[: 2 * SHOT],
        support_labels=one.support_labels[: 2 * SHOT],
        query=one.query[: 2 * QUERY],
        query_labels=one.query_labels[: 2 * QUERY],
        classes=one.classes[:2],
    )
    assert method.task(params, two, "transductive")[1].shape == (2 * QUERY, 2)
