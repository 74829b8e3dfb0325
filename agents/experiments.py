"""Train an agent in a world, open what was trained, evaluate it, plot it, render it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from metarl import checkpoints, devices, distributed, plots
from metarl.agents import preset
from metarl.agents.agent import Agent
from metarl.agents.configs import MetaPolicyGradient, OuterConfig
from metarl.agents.dashboard import training_layout
from metarl.agents.evaluation import Evaluation
from metarl.agents.experiment import Experiment
from metarl.agents.lifetime_evaluation import LifetimeEvaluation
from metarl.agents.lifetimes import judge, lifetime_groups
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.ppo import PPOConfig
from metarl.agents.rollouts import finite_tasks
from metarl.agents.starting import start_from
from metarl.configs import from_dict, read_json, to_dict, write_json
from metarl.meta_optimizers import GradientSteps, TrustRegion
from metarl.runs import Run
from metarl.training import Schedule
from metarl.training import train as run_training

Config = MetaPolicyGradient | PPOConfig


def train(
    agent: str, experiment: Experiment, config: Config | None = None, *, quiet: bool = False
) -> "AgentRun":
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
    device = devices.resolve(experiment.device)
    joined = distributed.start(device)
    try:
        algorithm = _algorithm(experiment, config, device)
        if experiment.start_from is not None:
            if not isinstance(config, MetaPolicyGradient):
                raise ValueError(
                    f"agent '{agent}' cannot start from another run; go on with --resume instead"
                )
            start_from(algorithm.module, experiment.start_from)
        stored = {"agent": agent, "experiment": to_dict(experiment), "config": to_dict(config)}
        run = Run.create(experiment.out, experiment.world, agent, experiment.seed, stored)
        return _run(run, algorithm, experiment, config, quiet)
    finally:
        if joined:
            distributed.stop()


def resume(path: str | Path, *, steps: int | None = None, quiet: bool = False) -> "AgentRun":
    """Go on with a run from its newest checkpoint, exactly as if it had not stopped.

    Args:
        path: The run's folder.
        steps: A new total of environment steps; unset, the run's own.
        quiet: Print nothing.
    """
    run = Run.open(path)
    _, experiment, config = _stored(run)
    if steps is not None:
        experiment = replace(experiment, steps=steps)
    device = devices.resolve(experiment.device)
    joined = distributed.start(device)
    try:
        return _run(run, _algorithm(experiment, config, device), experiment, config, quiet)
    finally:
        if joined:
            distributed.stop()


def open_run(path: str | Path) -> "AgentRun":
    """A run that was trained before.

    Raises:
        ValueError: The folder holds no run, or no checkpoint that can be read.
    """
    return AgentRun(Run.open(path))


def _stored(run: Run) -> tuple[str, Experiment, Config]:
    agent = run.config["agent"]
    config = from_dict(type(preset(agent)), run.config["config"])
    return agent, from_dict(Experiment, run.config["experiment"]), config


def _algorithm(experiment: Experiment, config: Config, device: torch.device):
    if isinstance(config, PPOConfig):
        from metarl.agents.sb3_ppo import PPOTraining

        return PPOTraining(experiment, config, device)
    torch.manual_seed(experiment.seed)
    return MetaPolicyGradientTraining(
        experiment.world,
        config,
        device,
        experiment.world_options,
        experiment.evaluation_steps,
        experiment.evaluation_tasks,
    )


def _run(run: Run, algorithm: Any, experiment: Experiment, config: Config, quiet: bool) -> "AgentRun":
    schedule = Schedule(
        steps=experiment.steps,
        seed=experiment.seed,
        evaluate_every=experiment.evaluate_every,
        checkpoint_every=experiment.checkpoint_every,
    )
    outer = config.outer if isinstance(config, MetaPolicyGradient) else None
    optimizer = (
        outer_optimizer(dict(algorithm.module.named_parameters()), outer) if outer else algorithm.optimizer
    )
    run.layout(training_layout(config, lifetime_groups(algorithm.env)))
    run_training(algorithm, optimizer, schedule, run, quiet=quiet)
    return AgentRun(run)


def outer_optimizer(parameters: dict[str, torch.Tensor], outer: OuterConfig) -> GradientSteps | TrustRegion:
    """The optimiser that takes the outer step a configuration names."""
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
    steps = outer.epochs * outer.minibatches
    return GradientSteps(parameters, outer.lr, epochs=steps, max_grad_norm=outer.max_grad_norm)


class AgentRun:
    """A trained agent and the folder it came from.

    Args:
        run: The folder.
    """

    def __init__(self, run: Run):
        self.run = run
        self.name, self.experiment, self.config = _stored(run)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.run.path

    def _restored(self, **world_options: Any) -> tuple[Any, dict[str, Any]]:
        """The algorithm with the newest checkpoint's parameters, and the checkpoint's state.

        Args:
            **world_options: Keyword arguments of the world that differ from those in training.
        """
        newest = checkpoints.latest(self.run.checkpoints)
        if newest is None:
            raise ValueError(
                f"{self.path} has no checkpoint yet; train it longer: metarl train --resume {self.path}"
            )
        tensors, state = checkpoints.load(newest)
        options = self.experiment.world_options | world_options
        experiment = replace(self.experiment, device="cpu", world_options=options)
        algorithm = _algorithm(experiment, self.config, torch.device("cpu"))
        checkpoints.load_module(algorithm.module, checkpoints.under("module", tensors))
        return algorithm, state

    @property
    def agent(self) -> Any:
        """The policy of the newest checkpoint; it answers `predict` and, if it is a meta-policy, `adapt`."""
        algorithm, _ = self._restored()
        if isinstance(self.config, PPOConfig):
            return algorithm.model
        return Agent(algorithm.module, self.config)

    def evaluate(
        self,
        split: str = "test",
        inner_steps: int = 3,
        tasks: int | None = None,
        repeats: int = 10,
        trajectories: int | None = None,
        seed: int = 0,
    ) -> Evaluation:
        """Adapt to tasks of a split, again and again from the trained parameters; written to `evaluation.json`.

        Args:
            split: `train` or `test`.
            inner_steps: Inner steps after which the return is measured, from 0 on.
            tasks: How many tasks; unset, 20, or all of a world that has fewer.
            repeats: Adaptations to each task, from fresh trajectories.
            trajectories: Per task and inner step; unset, as in training.
            seed: Tasks and trajectories follow from it.

        Returns:
            Scores of shape (repeats, tasks, inner steps + 1).
        """
        for name, value in (("inner_steps", inner_steps + 1), ("repeats", repeats)):
            if value < 1:
                raise ValueError(f"{name}={value}, expected a positive number")
        algorithm, state = self._restored()
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0x657661]))
        chosen = split_tasks(algorithm.env, split, tasks, rng)
        scores = np.stack(
            [algorithm.returns_after_adapting(chosen, rng, inner_steps, trajectories) for _ in range(repeats)]
        )
        protocol = {
            "agent": self.name,
            "world": self.experiment.world,
            "split": split,
            "split_hash": algorithm.env.tasks.split_hash if hasattr(algorithm.env, "tasks") else None,
            "inner_steps": inner_steps,
            "repeats": repeats,
            "seed": seed,
            "steps_trained": state.get("steps"),
            "training_seed": self.experiment.seed,
        }
        evaluation = Evaluation(scores, chosen, protocol)
        write_json(self.path / "evaluation.json", evaluation.to_json())
        return evaluation

    def evaluate_lifetimes(
        self,
        lifetimes: int = 50,
        split: str = "test",
        methods: Sequence[str] | None = None,
        seed: int = 0,
        *,
        lifetime: dict[str, Any] | None = None,
        quiet: bool = False,
    ) -> LifetimeEvaluation:
        """Live through lifetimes, each from the trained parameters; written to `lifetimes.json`.

        Args:
            lifetimes: How many of each that a split has (e.g. of each pair of legs), or in all where they are drawn.
            split: `train` or `test`.
            methods: Ways to live; unset, all that the agent has.
            seed: Lifetimes, starts and actions follow from it.
            lifetime: Another schedule than the world's own, e.g. {"schedule": "drift", "episodes": 10}.
            quiet: Show no progress.
        """
        algorithm, state = self._restored(**({} if lifetime is None else {"lifetime": lifetime}))
        protocol = {
            "agent": self.name,
            "world": self.experiment.world,
            "schedule": lifetime or self.experiment.world_options.get("lifetime"),
            "steps_trained": state.get("steps"),
            "training_seed": self.experiment.seed,
            "config": to_dict(self.config),
        }
        evaluation = judge(self.run, algorithm, protocol, lifetimes, split, methods, seed, quiet=quiet)
        write_json(self.path / "lifetimes.json", evaluation.to_json())
        return evaluation

    def render(
        self,
        out: str | Path,
        *,
        inner_steps: int = 1,
        task: dict | None = None,
        seconds: float | None = None,
        seed: int = 0,
    ) -> Path:
        """A video of the policy before and after adaptation, side by side.

        Args:
            out: File, `.mp4` or `.gif`.
            inner_steps: Steps that adaptation takes.
            task: What to adapt to; unset, up to two test tasks in turn.
            seconds: Length per task; unset, one episode.
            seed: Everything random follows from it.

        Raises:
            ValueError: The agent does not adapt, or the file's ending is unknown.
        """
        from metarl.agents.recordings import record_adaptation

        if isinstance(self.config, PPOConfig):
            raise ValueError(f"agent '{self.name}' does not adapt: there is no before and after to show")
        algorithm, _ = self._restored()
        tasks = [task] if task else split_tasks(algorithm.env, "test", None, np.random.default_rng(seed))[:2]
        return record_adaptation(
            Agent(algorithm.module, self.config),
            self.experiment.world,
            tasks,
            out,
            inner_steps=inner_steps,
            seconds=seconds,
            seed=seed,
            horizon=self.config.sampling.horizon,
            world_options=self.experiment.world_options,
        )

    def plot(self, out: str | Path) -> Path:
        """Draw return against inner steps (evaluating first, if that was not done yet)."""
        stored = self.path / "evaluation.json"
        rows = read_json(stored)["summary"] if stored.exists() else self.evaluate().summary()
        return plots.adaptation_curve(rows, out, title=f"{self.name} on {self.experiment.world}")


def split_tasks(env: VectorEnv, split: str, num: int | None, rng: np.random.Generator) -> list[dict]:
    """Tasks of a split: all of them where the world has few, else a sample.

    Args:
        env: A world with tasks.
        split: `train` or `test`.
        num: How many; unset, 20 or all if there are fewer.
        rng: Samples.
    """
    every = finite_tasks(env, split)
    if every is not None and (num is None or num >= len(every)):
        return every
    return env.sample_tasks(num or 20, split=split, rng=rng)
