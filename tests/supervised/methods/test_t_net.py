"""T-Net, MT-Net and Meta-Curvature as methods: their meta-gradients, what they start as, how masks are drawn."""

import math

import pytest
import torch

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

INNER = {"steps": 2, "lr": 0.3}
VARIANTS = {"t-net": {}, "t-net masked": {"masked": True}, "meta-curvature": {}}


def variant(name, data="strokes", inner=INNER):
    method = name.partition(" ")[0]
    config = config_of(method, data, inner=inner, **VARIANTS[name])
    return config, method


@pytest.mark.parametrize("name", VARIANTS)
def test_the_meta_gradient_is_that_of_finite_differences(name):
    method, params = made(*variant(name))
    one = episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert all(each.any() for key, each in grads.items() if key.startswith("rule."))
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


@pytest.mark.parametrize("name", ["t-net", "meta-curvature"])
def test_the_meta_gradient_of_a_regression_is_that_of_finite_differences(name):
    method, params = made(*variant(name, "sinusoid", {"steps": 2, "lr": 0.05}), "sinusoid")
    one = wave()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


@pytest.mark.parametrize("name", VARIANTS)
def test_vmap_chunks_and_loop_agree(name):
    method, params = made(*variant(name))

    def found(**how):
        losses = over_tasks(lambda p, one: method.task(p, one, "transductive")[0], **how)(params, episodes(3))
        return gradients(losses.sum(), params)

    loop = found(how="loop")
    torch.testing.assert_close(found(how="vmap"), loop, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found(how="vmap", chunk=2), loop, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["t-net", "meta-curvature"])
def test_it_starts_as_maml(name):
    found = {}
    for each in (name, "maml"):
        torch.manual_seed(0)
        method = build(each, config_of(each, inner=INNER), store().image, 8, WAY, SHOT)
        method.module.double()
        params = dict(method.module.named_parameters())
        found[each] = method.task(params, episode(), "transductive")[1]
    torch.testing.assert_close(found[name], found["maml"])


def test_a_mask_is_drawn_for_every_training_task_and_is_itself_in_testing():
    method, params = made(*variant("t-net masked"))
    stage = method.stages[0]
    with torch.no_grad():
        batch = stage.draw(store(), torch.Generator().manual_seed(0), 0.0)
        noise = batch[1]["rule.noise.net.blocks.1.conv.weight"]
        assert noise.shape == (32, 4)
        assert len(noise.unique()) == noise.numel()
        every = torch.cat([each.flatten() for each in batch[1].values()])
        assert every.mean() == pytest.approx(0, abs=0.2)
        assert every.std() == pytest.approx(math.pi / math.sqrt(3), abs=0.15)  # as logistic variables have
        many = episodes(2)
        noise = {key: each[:2].double() for key, each in batch[1].items()}
        loss, metrics = stage.loss(params, (many, noise))
        losses, right = [], []
        for i in range(2):
            one = type(many)(*(each[i] for each in many))
            with_noise = {**params, **{key: each[i] for key, each in noise.items()}}
            each, scores = method.task(with_noise, one, "transductive")
            losses.append(each)
            right.append(scores.argmax(1) == one.query_labels)
        silent = method.task(params, one, "transductive")[0]
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert abs(silent - losses[1]) > 1e-6
    assert metrics["accuracy"] == pytest.approx(torch.cat(right).double().mean().item())


def test_the_head_has_no_map_and_any_number_of_ways_will_do():
    for name in ("t-net", "meta-curvature"):
        method, params = made(*variant(name))
        learned = [key for key in params if key.startswith("rule.") and ".head." in key]
        assert learned == (["rule.curvature.1.head.weight"] if name == "meta-curvature" else [])
        one = episode()
        two = one._replace(
            support=one.support[: 2 * SHOT],
            support_labels=one.support_labels[: 2 * SHOT],
            query=one.query[: 2 * QUERY],
            query_labels=one.query_labels[: 2 * QUERY],
            classes=one.classes[:2],
        )
        assert method.task(params, two, "transductive")[1].shape == (2 * QUERY, 2)
