"""CAVIA: only the context adapts; its meta-gradient; what the context learns of a sine wave."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metarl.supervised import runs
from metarl.supervised.episodes import EpisodeSampler
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.regression import RegressionSampler, Sinusoids
from metarl.tasks import over_tasks
from tests.supervised.methods.smooth import (
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


@pytest.mark.parametrize("data", ["strokes", "sinusoid"])
def test_the_meta_gradient_is_that_of_finite_differences(data):
    method, params = made(config_of("cavia", data, inner={"steps": 2}), "cavia", data)
    one = wave() if data == "sinusoid" else episode()
    grads = gradients(method.task(params, one, "transductive")[0], params)
    assert_slope(lambda p: method.task(p, one, "transductive")[0], params, grads)


@pytest.mark.parametrize("first_order", [False, True])
def test_vmap_and_loop_agree(first_order):
    method, params = made(config_of("cavia", inner={"first_order": first_order}), "cavia")

    def task(params, one):
        return method.task(params, one, "transductive")[0]

    loop, batched = (
        gradients(over_tasks(task, how=how)(params, episodes(3)).sum(), params) for how in ("loop", "vmap")
    )
    torch.testing.assert_close(batched, loop, rtol=1e-9, atol=1e-11)


def test_it_is_what_the_equations_say():
    method, params = made(config_of("cavia", inner={"steps": 2, "lr": 0.7}), "cavia")
    one, net = episode(), method.module.net

    def scores(context, images):
        scale, shift = (context @ params["film.weight"].T + params["film.bias"]).split(4)
        film = [None, None, (scale, shift), None]
        return net(images, film=film) @ params["head.weight"].T + params["head.bias"]

    context = torch.zeros(100, dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        loss = F.cross_entropy(scores(context, one.support), one.support_labels)
        context = context - 0.7 * torch.autograd.grad(loss, context, create_graph=True)[0]
    expected = scores(context, one.query)
    loss, found = method.task(params, one, "transductive")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    mean = F.cross_entropy(expected, one.query_labels)
    torch.testing.assert_close(gradients(loss, params), gradients(mean, params), rtol=1e-8, atol=1e-11)


def test_without_steps_it_is_plain_training_with_an_empty_context():
    method, params = made(config_of("cavia", "sinusoid", inner={"steps": 0}), "cavia", "sinusoid")
    one = wave()
    loss, found = method.task(params, one, "transductive")
    inputs = torch.cat([one.query, torch.zeros(5, 5, dtype=torch.float64)], 1)
    expected = method.module.net(inputs) @ params["head.weight"].T + params["head.bias"]
    torch.testing.assert_close(found, expected)
    plain = F.mse_loss(expected, one.query_targets)
    torch.testing.assert_close(gradients(loss, params), gradients(plain, params))


def test_a_short_training_on_sine_waves_lets_the_context_tell_them_apart(tmp_path):
    experiment = FewShotExperiment(
        "sinusoid",
        shot=10,
        episodes=12_000,
        evaluate_every=0,
        checkpoint_every=0,
        out=str(tmp_path),
        device="cpu",
    )
    run = runs.train("cavia", experiment, quiet=True)
    found = run.evaluate(episodes=200, steps=(0, 1))
    before, after = (float(each.values.mean()) for each in found.judged.values())
    assert after < 0.7 * before
    method, _ = run.method()
    waves = RegressionSampler(Sinusoids("test"), 10, 15).draw(200, torch.Generator().manual_seed(0))
    with torch.no_grad():
        params = dict(method.module.named_parameters())
        answers = torch.stack(
            [
                method.tested(params, type(waves)(*(each[i] for each in waves)), "running")[1]
                for i in range(200)
            ]
        )
    sizes = [each.square().mean((1, 2)).sqrt().numpy() for each in (answers, waves.query_targets)]
    assert np.corrcoef(*sizes)[0, 1] > 0.5  # large waves are answered by large waves


@pytest.mark.parametrize(("wrong", "message"), [({"context": 0}, "context=0"), ({"block": 5}, "from 1 to 4")])
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        made(config_of("cavia", **wrong), "cavia")


def test_more_classes_than_the_head_knows_are_refused():
    method, params = made(config_of("cavia"), "cavia")
    drawn = EpisodeSampler(store(), WAY + 1, 1, 1).draw(1, torch.Generator().manual_seed(0))
    wide = type(drawn)(*(each[0] for each in drawn))
    with pytest.raises(
        ValueError, match=f"expected {WAY} or fewer, got {WAY + 1}; train it with --way {WAY + 1}"
    ):
        method.task(params, wide, "transductive")
    with pytest.raises(ValueError, match=f"expected 2 or fewer, got {WAY}"):
        made(config_of("cavia", training={"way": 2}), "cavia")
