"""A trained agent and its folder: evaluate it, plot it, film it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from metarl import checkpoints, plots
from metarl.agents.agent import Agent
from metarl.agents.building import build, stored
from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.evaluation import Evaluation
from metarl.agents.lifetime_evaluation import LifetimeEvaluation
from metarl.agents.lifetimes import check_methods, choose_lifetime, judge, method_label, split_of
from metarl.agents.rollouts import finite_tasks
from metarl.configs import read_json, refuse_below, to_dict, write_json
from metarl.progress import Progress
from metarl.runs import Run


class AgentRun:
    """A trained agent and the folder it came from.

    Args:
        run: The folder.
    """

    def __init__(self, run: Run):
        self.run = run
        self.name, self.experiment, self.config = stored(run)

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.run.path

    def _restored(self, **world_options: Any) -> tuple[Any, dict[str, Any]]:
        """The algorithm with the newest checkpoint's parameters, and the checkpoint's state.

        Args:
            **world_options: Keyword arguments of the world that differ from those in training.
        """
        tensors, state = checkpoints.load(self.run.newest_checkpoint())
        options = self.experiment.world_options | world_options
        experiment = replace(self.experiment, device="cpu", world_options=options)
        algorithm = build(experiment, self.config, torch.device("cpu"))
        checkpoints.load_module(algorithm.module, checkpoints.under("module", tensors))
        if hasattr(algorithm, "optimizer"):  # it goes on learning in a lifetime
            algorithm.optimizer.load_state_dict(checkpoints.under("optimizer", tensors))
        return algorithm, state

    @property
    def agent(self) -> Any:
        """The policy of the newest checkpoint; it answers `predict` and, if it is a meta-policy, `adapt`."""
        algorithm, _ = self._restored()
        if not isinstance(self.config, MetaPolicyGradient):
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
        *,
        quiet: bool = False,
    ) -> Evaluation:
        """Adapt to tasks of a split, again and again from the trained parameters; written to `evaluation.json`.

        Args:
            split: `train` or `test`.
            inner_steps: Inner steps after which the return is measured, from 0 on.
            tasks: How many tasks; unset, 20, or all of a world that has fewer.
            repeats: Adaptations to each task, from fresh trajectories.
            trajectories: Per task and inner step; unset, as in training (20 of agents that learn by PPO).
            seed: Tasks and trajectories follow from it.
            quiet: Show no progress.

        Returns:
            Scores of shape (repeats, tasks, inner steps + 1).
        """
        at_least = {"inner_steps": 0, "repeats": 1, "seed": 0, "tasks": 1, "trajectories": 1}
        given = {"inner_steps": inner_steps, "repeats": repeats, "seed": seed}
        refuse_below(at_least, {**given, "tasks": tasks, "trajectories": trajectories})
        algorithm, state = self._restored()
        rng = np.random.default_rng(np.random.SeedSequence([seed, 0x657661]))
        chosen = split_tasks(algorithm.env, split, tasks, rng)
        scores = []
        title = f"{self.name} in {self.experiment.world}"
        with Progress(title, repeats, quiet=quiet, unit="repeats") as progress:
            progress.start(0)
            for repeat in range(repeats):
                scores.append(algorithm.returns_after_adapting(chosen, rng, inner_steps, trajectories))
                progress.update(repeat + 1, {})
        protocol = {
            "agent": self.name,
            "world": self.experiment.world,
            "world_options": self.experiment.world_options,
            "split": split,
            **split_of(algorithm.env),
            "inner_steps": inner_steps,
            "trajectories": trajectories or algorithm.trajectories,
            "repeats": repeats,
            "seed": seed,
            "steps_trained": state.get("steps"),
            "training_seed": self.experiment.seed,
        }
        evaluation = Evaluation(np.stack(scores), chosen, protocol)
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
        refuse_below({"lifetimes": 1, "seed": 0}, {"lifetimes": lifetimes, "seed": seed})
        algorithm, state = self._restored(**({} if lifetime is None else {"lifetime": lifetime}))
        protocol = {
            "agent": self.name,
            "world": self.experiment.world,
            "schedule": lifetime or self.experiment.world_options.get("lifetime"),
            "world_options": {
                name: each for name, each in self.experiment.world_options.items() if name != "lifetime"
            },
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

        if not isinstance(self.config, MetaPolicyGradient):
            how = "with --lifetime it is filmed in a lifetime"
            if self.name == "self-play":
                how = "film a match: metarl match RUN zero-ant --rounds 3 --out clip.mp4"
            raise ValueError(
                f"agent '{self.name}' does not adapt: there is no before and after to show; {how}"
            )
        refuse_below({"inner_steps": 0, "seed": 0}, {"inner_steps": inner_steps, "seed": seed})
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

    def render_lifetime(
        self,
        out: str | Path,
        *,
        method: str | None = None,
        task: dict[str, Any] | None = None,
        lifetime: dict[str, Any] | None = None,
        seconds: float | None = None,
        seed: int = 0,
    ) -> Path:
        """A video of one lifetime; number of the episode, task and returns are written into it.

        Args:
            out: File, `.mp4` or `.gif`.
            method: How the agent lives; unset, in its own way.
            task: What all tasks of the lifetime have, e.g. {"legs": [3, 4]}; unset, the first test lifetime.
            lifetime: Another schedule than the world's own.
            seconds: How much of each episode is shown; unset, all of it.
            seed: Everything random follows from it.
        """
        from metarl.agents.recordings import record_lifetime

        refuse_below({"seed": 0}, {"seed": seed})
        options = {} if lifetime is None else {"lifetime": lifetime}
        algorithm, _ = self._restored(**options)
        chosen = check_methods(algorithm, None if method is None else [method])[0]
        return record_lifetime(
            algorithm,
            choose_lifetime(algorithm.env, task, np.random.default_rng(seed)),
            self.experiment.world,
            out,
            method=chosen,
            title=method_label(self.name, chosen, algorithm.methods),
            seconds=seconds,
            seed=seed,
            world_options=self.experiment.world_options | options,
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
