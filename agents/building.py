"""From the configuration of an agent to what trains it."""

from typing import Any

import torch

from metarl import distributed
from metarl.agents import preset
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.experiment import Experiment
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.ppo import PPOConfig
from metarl.agents.recurrent_ppo import RecurrentPPOConfig
from metarl.agents.self_play import SelfPlayConfig
from metarl.configs import from_dict
from metarl.runs import Run

Config = MetaPolicyGradient | PPOConfig | RecurrentPPOConfig | SelfPlayConfig


def stored(run: Run) -> tuple[str, Experiment, Config]:
    """Name of the agent, experiment and configuration that a run keeps.

    Raises:
        ValueError: It is the run of a few-shot method.
    """
    if "agent" not in run.config and "method" in run.config:
        raise ValueError(
            f"{run.path} is a run of a few-shot method; use `metarl fewshot evaluate` and `metarl fewshot train`"
        )
    run.check_whole("agent")
    agent = run.config["agent"]
    config = from_dict(type(preset(agent)), run.config["config"])
    return agent, from_dict(Experiment, run.config["experiment"]), config


def build(experiment: Experiment, config: Config, device: torch.device) -> Any:
    """What trains the agent of a configuration, with fresh parameters; see `metarl.algorithms.Algorithm`.

    Raises:
        ValueError: A learner of Stable-Baselines3 is to train on several ranks.
    """
    if isinstance(config, PPOConfig | RecurrentPPOConfig | SelfPlayConfig) and distributed.world_size() > 1:
        raise ValueError(
            f"got {distributed.world_size()} ranks, but learners of Stable-Baselines3 train on one: call metarl without "
            "torchrun (meta-policies and few-shot methods share their tasks among ranks)"
        )
    if isinstance(config, PPOConfig):
        from metarl.agents.sb3_ppo import PPOTraining

        return PPOTraining(experiment, config, device)
    if isinstance(config, RecurrentPPOConfig):
        from metarl.agents.sb3_memory import MemoryTraining

        return MemoryTraining(experiment, config, device)
    if isinstance(config, SelfPlayConfig):
        from metarl.agents.self_play_training import SelfPlayTraining

        return SelfPlayTraining(experiment, config, device)
    torch.manual_seed(experiment.seed)
    return MetaPolicyGradientTraining(
        experiment.world,
        config,
        device,
        experiment.world_options,
        experiment.evaluation_steps,
        experiment.evaluation_tasks,
    )
