"""Train an agent in a world, go on with its training, open what was trained."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from metarl import checkpoints, devices, distributed
from metarl.agents import preset
from metarl.agents.agent_run import AgentRun
from metarl.agents.building import Config, build, stored
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.dashboard import training_layout
from metarl.agents.experiment import Experiment
from metarl.agents.lifetimes import lifetime_groups, split_of
from metarl.agents.policy_adaptation import rule_of
from metarl.agents.self_play import SelfPlayConfig
from metarl.agents.starting import find_gait, start_from
from metarl.configs import to_dict
from metarl.meta_optimizers import GradientSteps, TrustRegion
from metarl.runs import Run
from metarl.training import Schedule, ending_noted
from metarl.training import train as run_training
from metarl.update_rules import RULE_PREFIX, first_lr


def train(
    agent: str, experiment: Experiment, config: Config | None = None, *, quiet: bool = False
) -> AgentRun:
    """Train an agent from scratch, in a new run folder.

    Args:
        agent: A key of `metarl.agents.AGENTS`.
        experiment: World, environment steps, seed, output folder.
        config: What the agent's preset is replaced by.
        quiet: Print nothing.

    Returns:
        The finished run.

    Raises:
        ValueError: Unknown agent, a configuration that is refused, or a world without tasks.
        gymnasium.error.Error: Unknown world.
    """
    config = preset(agent) if config is None else config
    if experiment.start_from is None:
        _refuse_first_std(config)
    device = devices.resolve(experiment.device)
    with distributed.ranks(device):
        algorithm = build(experiment, config, device)
        start_from(algorithm, experiment)
        settings = {"agent": agent, "experiment": to_dict(experiment), "config": to_dict(config)}
        run = Run.create(experiment.out, experiment.world, agent, experiment.seed, settings)
        with ending_noted(run):
            return _run(run, algorithm, experiment, config, quiet)


def _refuse_first_std(config: Config) -> None:
    """Of a fresh policy: another run's brings a standard deviation of its own."""
    policy = getattr(config, "policy", None)
    if policy is not None and policy.initial_std < policy.minimum_std:
        raise ValueError(
            f"policy.initial_std={policy.initial_std} is below policy.minimum_std={policy.minimum_std}, expected at "
            "least as much: raise the first or lower the second"
        )


def resume(path: str | Path, *, steps: int | None = None, quiet: bool = False) -> AgentRun:
    """Go on with a run from its newest checkpoint, exactly as if it had not stopped.

    Args:
        path: The run's folder.
        steps: A new total of environment steps; unset, the run's own.
        quiet: Print nothing.

    Raises:
        ValueError: The folder holds no run, or one that has done more steps.
    """
    run = Run.open(path)
    _, experiment, config = stored(run)
    device = devices.resolve(experiment.device)
    with distributed.ranks(device):
        experiment = replace(experiment, steps=run.total(steps, experiment.steps))
        algorithm = build(experiment, config, device)
        if checkpoints.complete(run.checkpoints):
            find_gait(algorithm, experiment)
        else:  # it ended before its start was saved
            start_from(algorithm, experiment)
        return _run(run, algorithm, experiment, config, quiet)


def open_run(path: str | Path) -> AgentRun:
    """A run that was trained before.

    Raises:
        ValueError: The folder holds no run, or no checkpoint that can be read.
    """
    return AgentRun(Run.open(path))


def _run(run: Run, algorithm: Any, experiment: Experiment, config: Config, quiet: bool) -> AgentRun:
    schedule = Schedule(
        steps=experiment.steps,
        seed=experiment.seed,
        evaluate_every=experiment.evaluate_every,
        checkpoint_every=experiment.checkpoint_every,
    )
    if isinstance(config, SelfPlayConfig):
        algorithm.folder = run.path / "opponents"
    optimizer = (
        outer_optimizer(dict(algorithm.module.named_parameters()), config)
        if isinstance(config, MetaPolicyGradient)
        else algorithm.optimizer
    )
    _note_tasks(run, algorithm.env)
    run.layout(training_layout(config, lifetime_groups(algorithm.env)))
    run_training(algorithm, optimizer, schedule, run, quiet=quiet)
    return AgentRun(run)


def _note_tasks(run: Run, env: VectorEnv) -> None:
    """Keep what the tasks are, with whatever is noted next, and warn if a run goes on with others."""
    now = split_of(env)["split_hash"]
    before = run.info.get("split_hash", now)
    if now != before:
        warnings.warn(
            f"the tasks of {run.path} have changed since it was trained last, perhaps its pool of opponents: it goes on "
            "with those of now",
            stacklevel=2,
        )
    run.info["split_hash"] = now


def outer_optimizer(
    parameters: dict[str, torch.Tensor], config: MetaPolicyGradient
) -> GradientSteps | TrustRegion:
    """The optimiser that takes the outer step a configuration names.

    Adam moves any number by its step size, however small or large the number is. Inner step sizes, which start anywhere
    from 0.001 to 100, therefore have step sizes of their own, in proportion to where they start.
    """
    outer = config.outer
    if outer.step == "trpo":
        return TrustRegion(
            parameters,
            outer.max_kl,
            cg_steps=outer.cg_steps,
            damping=outer.damping,
            backtracks=outer.backtracks,
        )
    if outer.step == "reptile":
        return GradientSteps(parameters, outer.lr, kind="sgd")
    rule, prefix = rule_of(config.inner), f"{RULE_PREFIX}lr"
    rates = {
        name: outer.step_size_lr * first_lr(name.removeprefix(f"{prefix}."), rule.lr, rule.lr_for)
        for name in parameters
        if name.startswith(prefix)
    }
    steps = outer.epochs * outer.minibatches
    return GradientSteps(parameters, outer.lr, epochs=steps, max_grad_norm=outer.max_grad_norm, rates=rates)
