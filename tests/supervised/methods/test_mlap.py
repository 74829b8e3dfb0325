"""MLAP: the gradient of its bound, which tasks it learns from, how a posterior is fitted."""

from dataclasses import replace

import pytest
import torch

from metarl.supervised.methods import mlap
from metarl.supervised.methods.config import Backbone, EpisodicTraining
from metarl.supervised.methods.mlap import HYPER_SPREAD, Batch, prior_of
from metarl.supervised.pac_bayes import gaussian_kl, hyper_kl, meta_term, task_term
from metarl.supervised.presets.mlap import Config
from metarl.tasks import over_tasks
from tests.supervised.methods.smooth import (
    QUERY,
    SHOT,
    WAY,
    D,
    assert_slope,
    config_of,
    episode,
    episodes,
    gradients,
    made,
    store,
)

NAMES = ("net.blocks.0.conv.weight", "head.bias")


def small(**changes):
    usual = {"tasks": 3, "samples": 4, "test_steps": 3, "test_lr": 0.02}
    config = config_of("mlap", training={"tasks": 2}, **{**usual, **changes})
    return replace(config, backbone=Backbone(channels=4, halve="stride", norm="none", activation="silu"))


def batch_of(method, seed=0):
    drawn = method.stages[0].draw(store(), torch.Generator().manual_seed(seed), 0.0)
    tasks = drawn.tasks._replace(support=drawn.tasks.support.to(D), query=drawn.tasks.query.to(D))
    return Batch(drawn.chosen, tasks, drawn.noise.to(D), drawn.shift.to(D))


@pytest.mark.parametrize("bound", ["seeger", "mcallester", "catoni", "pentina-lampert", "variational"])
def test_the_gradient_of_the_bound_is_that_of_finite_differences(bound):
    method, params = made(small(bound=bound), "mlap")
    batch = batch_of(method)
    grads = gradients(method.stages[0].loss(params, batch)[0], params)
    assert all(grads[f"{part}{name}"].any() for part in ("", "log_var.", "posterior.mean.") for name in NAMES)
    assert_slope(lambda p: method.stages[0].loss(p, batch)[0], params, grads, rtol=1e-5)


def test_the_objective_is_the_bound_of_the_tasks_at_hand():
    method, params = made(small(), "mlap")
    batch = batch_of(method)
    value, metrics = method.stages[0].loss(params, batch)
    names = tuple(name for name in params if name.startswith(("net.", "head.")))
    prior = prior_of(params, names)
    hyper = hyper_kl([*prior.mean.values(), *prior.log_var.values()], whole=False)
    sizes = [params[name].numel() for name in names]
    shift = batch.shift.split(sizes)
    shifted = {
        n: prior.mean[n] + HYPER_SPREAD * s.view_as(prior.mean[n]) for n, s in zip(names, shift, strict=True)
    }
    total, losses = [], []
    for place, number in enumerate(batch.chosen.tolist()):
        mean, log_var = (
            {n: params[f"posterior.{part}.{n}"][number] for n in names} for part in ("mean", "log_var")
        )
        noise = batch.noise[place].split(sizes)
        weights = {
            n: mean[n] + (log_var[n] / 2).exp() * e.view_as(mean[n])
            for n, e in zip(names, noise, strict=True)
        }
        method.module.load_state_dict(
            {**method.module.state_dict(), **{n: w.detach() for n, w in weights.items()}}
        )
        scores = method.module.head(method.module.net(batch.tasks.support[place]))
        losses.append(torch.nn.functional.cross_entropy(scores, batch.tasks.support_labels[place]).detach())
        method.module.load_state_dict(
            {**method.module.state_dict(), **{n: prior.mean[n].detach() for n in names}}
        )
        kl = gaussian_kl(mean, log_var, shifted, prior.log_var)
        total.append(losses[-1] + task_term("seeger", losses[-1], kl + hyper, 12, 3, 0.1))
    torch.testing.assert_close(metrics["support_loss"], torch.stack(losses).mean())
    torch.testing.assert_close(value, torch.stack(total).mean() + meta_term("seeger", hyper, 12, 3, 0.1))


def test_the_tasks_are_always_the_same():
    method, _ = made(small(tasks=2), "mlap")
    first, second = (batch_of(method, seed) for seed in (0, 1))
    order = [batch.chosen.argsort() for batch in (first, second)]
    torch.testing.assert_close(first.tasks.support[order[0]], second.tasks.support[order[1]])
    assert first.tasks.support.shape == (2, WAY * 4, 1, 28, 28)
    assert not torch.equal(first.noise, second.noise)


def test_without_steps_the_answer_is_that_of_the_priors_mean():
    method, params = made(small(test_steps=0), "mlap")
    one = episode()
    scores = method.task(params, one, "transductive")[1]
    torch.testing.assert_close(scores, method.module.head(method.module.net(one.query)))
    assert scores.shape == (WAY * QUERY, WAY)


def test_a_new_tasks_bound_counts_all_images_of_its_support(monkeypatch):
    seen, real = [], mlap.posterior_objective

    def watched(bound, loss, posterior, prior, samples, *, delta):
        seen.append((bound, samples, delta))
        return real(bound, loss, posterior, prior, samples, delta=delta)

    monkeypatch.setattr(mlap, "posterior_objective", watched)
    method, params = made(small(bound="catoni", delta=0.05), "mlap")
    method.task(params, episode(), "transductive")
    assert seen == [("catoni", WAY * SHOT, 0.05)] * 3  # once for each step


def test_the_posterior_goes_as_far_as_the_prior_is_wide():
    method, params = made(small(test_steps=40, test_lr=0.1), "mlap")
    one = episode()
    seen = one._replace(
        query=one.support, query_labels=one.support_labels
    )  # how well the support itself is known
    start, _ = made(small(test_steps=0), "mlap")
    gains = []
    for log_variance in (-1.0, -12.0):
        there = {
            n: torch.full_like(p, log_variance) if n.startswith("log_var") else p.detach()
            for n, p in params.items()
        }
        with torch.no_grad():
            gains.append(
                start.task(there, seen, "transductive")[0] - method.task(there, seen, "transductive")[0]
            )
    assert gains[0] > 0.01
    assert abs(gains[1]) < 1e-3


def test_vmap_chunks_and_loop_agree():
    method, params = made(small(), "mlap")

    def found(**how):
        losses = over_tasks(lambda p, one: method.task(p, one, "transductive")[0], **how)(params, episodes(3))
        return gradients(losses.sum(), params)

    loop = found(how="loop")
    torch.testing.assert_close(found(how="vmap"), loop, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found(how="vmap", chunk=2), loop, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("wrong", [{"tasks": 1}, {"delta": 0.0}, {"test_lr": 0.0}, {"samples": 0}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)


def test_tasks_that_a_bound_is_of_are_not_augmented():
    with pytest.raises(ValueError, match=r"training\.augment='affine', expected 'none'"):
        Config(training=EpisodicTraining(augment="affine"))


def test_weights_that_have_distributions_do_not_decay():
    with pytest.raises(ValueError, match=r"weight_decay=0\.1, expected 0"):
        Config(training=EpisodicTraining(weight_decay=0.1))
