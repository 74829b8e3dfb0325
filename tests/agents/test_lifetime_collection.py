"""Training on whole lifetimes: the adaptation that the outer objective differentiates is the one that was executed."""

import dataclasses

import numpy as np
import pytest
import torch

from metarl.agents import preset
from metarl.agents.experiments import outer_optimizer
from metarl.agents.lifetime_collection import as_tasks
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining

WORLD = "metarl/HexapodLegFailure-v0"


def training(**changes):
    config = preset("continuous-adaptation")
    parts = {
        "policy": {"hidden": (16, 16), "context_size": 4},
        "sampling": {"unit": "lifetime", "tasks": 2, "trajectories": 1, "horizon": 15},
        "inner": {"estimator": "lvc", "steps": 2},
        "outer": {"score_terms": False, "minibatches": 1},
        "execution": {"importance": "none", "buffer": 3},
    }
    for part, fields in changes.items():
        parts[part] = {**parts[part], **fields}
    torch.manual_seed(0)
    return MetaPolicyGradientTraining(
        WORLD,
        dataclasses.replace(
            config,
            **{name: dataclasses.replace(getattr(config, name), **each) for name, each in parts.items()},
        ),
    )


@pytest.mark.parametrize("importance", ["none", "trajectory", "step"])
@pytest.mark.parametrize("body", ["mlp", "lstm"])
def test_the_differentiated_adaptation_is_the_executed_one(importance, body):
    algorithm = training(execution={"importance": importance}, policy={"body": body, "memory": "episode"})
    data = algorithm.collect(np.random.default_rng(0)).data
    loss, metrics = algorithm.loss(data)
    assert abs(float(metrics["kl"])) < 1e-6  # of each query's policy from the one that sampled it
    assert torch.isfinite(loss)
    with torch.no_grad():
        for parameter in algorithm.module.parameters():
            parameter += 0.02
    assert float(algorithm.loss(data)[1]["kl"]) > 1e-4


def test_every_episode_is_judged_and_short_buffers_are_filled_with_masked_trajectories():
    algorithm = training()
    batch = algorithm.collect(np.random.default_rng(0))
    first, rest = batch.data["first"], batch.data["rest"]
    assert batch.steps == 2 * 7 * 15
    assert first["obs"].shape == (2, 1, 15, 37)
    assert rest["query"]["obs"].shape == (12, 1, 15, 37)
    for support in rest["support"]:
        assert support["obs"].shape == (12, 3, 15, 37)
        per_episode = support["mask"].sum((1, 2)).reshape(6, 2)
        assert per_episode[:, 0].tolist() == [15, 30, 45, 45, 45, 45]


def test_memories_are_filled_up_to_the_parts_that_are_unrolled_not_to_the_steps():
    algorithm = training(policy={"body": "lstm", "memory": "episode", "unroll": 4})
    rest = algorithm.collect(np.random.default_rng(0)).data["rest"]
    for each in (rest["query"], *rest["support"]):
        assert each["obs"].shape[2] == 15
        assert each["memory"].shape[2] == each["value_memory"].shape[2] == 4  # of 4, 4, 4 and 3 steps


@pytest.mark.parametrize("body", ["mlp", "lstm"])
def test_filling_up_changes_no_loss(body):
    algorithm = training(policy={"body": body, "memory": "episode", "unroll": 4})
    data = algorithm.collect(np.random.default_rng(0)).data
    whole, _ = algorithm._losses_and_terms(dict(algorithm.module.named_parameters()), data["rest"])
    first = {
        name: value[:1, :1] if value.dim() > 1 else value[:1]
        for name, value in data["rest"]["support"][0].items()
    }
    second = {
        name: value[:1, :1] if value.dim() > 1 else value[:1]
        for name, value in data["rest"]["support"][1].items()
    }
    query = {name: value[:1] for name, value in data["rest"]["query"].items()}
    params = dict(algorithm.module.named_parameters())
    alone, _ = algorithm._losses_and_terms(params, {"support": [first, second], "query": query})
    torch.testing.assert_close(alone[0], whole[0])


def test_episodes_of_unequal_length_are_joined():
    algorithm = training()
    course = algorithm_course(algorithm)
    course[2].lived = dataclasses.replace(
        course[2].lived,
        **{
            name: getattr(course[2].lived, name)[:, :, :10]
            for name in ("raw_obs", "obs", "actions", "rewards", "mask", "mean", "log_std")
        },
    )
    _, rest = as_tasks(course, algorithm.adaptation, algorithm.config.sampling, 3)
    assert rest["query"]["mask"].reshape(6, 2, 15).sum(-1)[:, 0].tolist() == [15, 10, 15, 15, 15, 15]


def algorithm_course(algorithm):
    from metarl.agents.execution import episodes
    from metarl.agents.lives import episode_seeds
    from metarl.agents.policy_adaptation import for_each_task

    rng = np.random.default_rng(0)
    lifetimes = algorithm.env.sample_lifetimes(2, "train", rng)
    start = for_each_task(dict(algorithm.module.named_parameters()), 2)
    return list(
        episodes(
            algorithm.adaptation,
            algorithm.module.normalizer,
            start,
            algorithm.env,
            lifetimes,
            episode_seeds(rng, 2, 7),
            rng.spawn(2),
            algorithm.config,
        )
    )


def test_an_outer_step_lowers_its_objective():
    algorithm = training(outer={"minibatches": 2})
    batch = algorithm.collect(np.random.default_rng(0))
    assert {"adapt/return_6", "adapt/inner_kl", "adapt/effective_sample_size"} <= batch.metrics.keys()
    optimizer = outer_optimizer(
        dict(algorithm.module.named_parameters()),
        dataclasses.replace(algorithm.config, outer=dataclasses.replace(algorithm.config.outer, epochs=20)),
    )
    before = sum(float(algorithm.loss(batch.data)[0].detach()) for _ in range(2))
    optimizer.update(lambda: algorithm.loss(batch.data))
    assert sum(float(algorithm.loss(batch.data)[0].detach()) for _ in range(2)) < before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outer": {"score_terms": True}, "inner": {"estimator": "log_prob"}}, "outer.score_terms=False"),
        ({"outer": {"before": 1.0}}, "outer.before=1.0"),
        ({"outer": {"inner_kl": 0.1}}, "outer.inner_kl=0.1"),
        ({"sampling": {"trajectories": 2}}, "sampling.trajectories=2"),
    ],
)
def test_settings_that_lifetimes_cannot_have_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        training(**changes)
