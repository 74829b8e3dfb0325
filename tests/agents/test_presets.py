"""What an agent's name stands for: its settings, and those that PPO is told."""

from dataclasses import replace

import pytest
import torch

from metarl.agents import AGENTS, preset
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.experiment import Experiment
from metarl.agents.sb3_memory import MemoryTraining
from metarl.agents.sb3_ppo import PPOTraining
from metarl.agents.self_play_training import SelfPlayTraining

# Of the inner step: surrogate, whether first-order, what adapts, steps, step size, which are learned, bound;
# of the outer step: its kind, score terms, step size, clip, weight of the inner KL divergence.
META = {
    "maml": ("dice", False, "all", 1, 0.3, "fixed", None, "trpo", False, 3e-3, 0.3, 5e-4),
    "fomaml": ("log_prob", True, "all", 1, 0.3, "fixed", None, "trpo", False, 3e-3, 0.3, 5e-4),
    "e-maml": ("log_prob", False, "all", 1, 0.3, "fixed", None, "ppo", True, 3e-3, 0.3, 5e-4),
    "promp": ("lvc", False, "all", 1, 0.3, "fixed", None, "ppo", False, 3e-3, 0.3, 5e-4),
    "meta-sgd": ("lvc", False, "all", 1, 0.3, "parameter", None, "ppo", False, 3e-3, 0.3, 5e-4),
    "cavia": ("lvc", False, "context", 1, 10.0, "fixed", None, "ppo", False, 3e-3, 0.3, 5e-4),
    "reptile": ("log_prob", False, "all", 3, 0.3, "fixed", None, "reptile", False, 0.3, 0.3, 5e-4),
    "continuous-adaptation": (
        *("log_prob", False, "all", 3, 0.01, "tensor", 0.1),
        *("ppo", True, 1e-3, 0.2, 0.0),
    ),
}
# Discount, lambda of the advantages, clip, entropy, epochs, scale of the rewards, whether it observes its feedback.
PPO = {
    "ppo": (0.99, 0.95, 0.2, 0.0, 10, 1.0, False),
    "recurrent-ppo": (0.99, 0.95, 0.2, 0.0, 10, 1.0, False),
    "rl2": (0.99, 0.95, 0.2, 0.0, 10, 1.0, True),
    "self-play": (0.995, 0.95, 0.2, 0.0, 10, 0.01, False),
}


def test_every_agent_is_in_one_of_the_tables():
    assert AGENTS.keys() == META.keys() | PPO.keys()


@pytest.mark.parametrize("agent", META)
def test_a_meta_policy_is_trained_as_its_row_says(agent):
    config = preset(agent)
    assert isinstance(config, MetaPolicyGradient)
    inner, outer = config.inner, config.outer
    assert META[agent] == (
        *(
            inner.estimator,
            inner.first_order,
            inner.adapted,
            inner.steps,
            inner.lr,
            inner.step_sizes,
            inner.clip,
        ),
        *(outer.step, outer.score_terms, outer.lr, outer.clip, outer.inner_kl),
    )


@pytest.mark.parametrize("agent", PPO)
def test_ppo_is_trained_as_its_row_says(agent):
    config = preset(agent)
    for each in (config.ppo, config.recurrent) if agent == "self-play" else (config,):
        assert PPO[agent] == (
            *(each.discount, each.gae_lambda, each.clip, each.entropy, each.epochs),
            *(each.reward_scale, getattr(each, "feedback", False)),
        )


def test_the_trust_region_of_maml_and_the_discount_of_all():
    outer = preset("maml").outer
    assert (outer.max_kl, outer.cg_steps, outer.damping, outer.backtracks) == (0.01, 10, 1e-3, 15)
    for agent in META:
        assert (preset(agent).sampling.discount, preset(agent).sampling.gae_lambda) == (0.99, 0.95)


GIVEN = {"gae_lambda": 0.5, "clip": 0.1, "entropy": 0.01, "discount": 0.9, "target_kl": 0.3, "lr": 0.02}


def learner(agent, body="mlp"):
    """A small one with settings that are nobody's own."""
    small = {"environments": 2, "horizon": 4, "batch_size": 8, "epochs": 3, **GIVEN}
    config, experiment = preset(agent), Experiment("metarl/PointNavigation-v0", steps=1)
    if agent != "self-play":
        kind = PPOTraining if agent == "ppo" else MemoryTraining
        return kind(experiment, replace(config, **small), torch.device("cpu"))
    parts = {name: replace(getattr(config, name), **small) for name in ("ppo", "recurrent")}
    experiment = Experiment("metarl/RoboSumo-Ant-vs-Ant-v0", steps=1, world_options={"physics": "fast"})
    return SelfPlayTraining(experiment, replace(config, body=body, **parts), torch.device("cpu"))


@pytest.mark.parametrize(
    "chosen",
    [("ppo",), ("recurrent-ppo",), ("rl2",), ("self-play", "mlp"), ("self-play", "lstm")],
    ids=" ".join,
)
def test_all_settings_of_ppo_arrive(chosen):
    model = learner(*chosen).model
    assert (model.gae_lambda, model.clip_range(1.0), model.ent_coef) == (0.5, 0.1, 0.01)
    assert (model.gamma, model.target_kl, model.lr_schedule(1.0)) == (0.9, 0.3, 0.02)
    assert (model.n_epochs, model.batch_size) == (3, 8)
    buffer = model.rollout_buffer
    assert (buffer.gae_lambda, buffer.gamma) == (0.5, 0.9)
