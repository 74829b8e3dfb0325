"""Training by self-play: PPO in a competitive world, whose pool of opponents gets versions of the learner itself."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from metarl import checkpoints
from metarl.agents.experiment import Experiment
from metarl.agents.lives import Lives
from metarl.agents.opponent_arrays import of_learner
from metarl.agents.sb3_memory import MemoryTraining
from metarl.agents.sb3_ppo import PPOTraining
from metarl.agents.self_play import ITSELF, SelfPlayConfig
from metarl.training import Batch

STILL = {"opponent": "zero", "version": 0}
"""The task of meeting an opponent that stands still."""
OLDER = {"first_quarter": 1, "half": 2, "third_quarter": 3}
"""Versions of the learner that it is judged against: those after so many quarters of its training till now."""


class SelfPlayTraining:
    """What the trainer asks of an algorithm: PPO's answers, against opponents of which many are the learner itself.

    Args:
        experiment: World and seed. Its tasks are opponents: `{"opponent": name, "version": number}`; versions are added
            by `env.tasks.add(name, version, arrays)`.
        config: Who is met, and PPO's settings.
        device: Where the policy lives.

    Attributes:
        folder: Where the versions are kept, for training to go on from and to make a pool of; None: nowhere.

    Raises:
        ValueError: The tasks of the world are no opponents, one is called `self`, or its two sides have different bodies.
    """

    def __init__(self, experiment: Experiment, config: SelfPlayConfig, device: torch.device):
        self.config, self.folder = config, None
        kind = PPOTraining if config.body == "mlp" else MemoryTraining
        self.learner: Any = kind(experiment, config.learner, device, self.draw)
        self.env, self.methods = self.learner.env, self.learner.methods
        self.trajectories = self.learner.trajectories
        if getattr(self.env.tasks, "keys", ()) != ("opponent", "version"):
            raise ValueError(
                f"self-play needs a world whose tasks are opponents, such as metarl/RoboSumo-Ant-vs-Ant-v0; "
                f"those of {experiment.world} are {self.env.tasks}"
            )
        if ITSELF in self.env.tasks.names():
            raise ValueError(
                f"the pool has an opponent called '{ITSELF}', as the learner's own versions are called: copy its "
                f"folder under another name, e.g. {ITSELF}-1"
            )
        if self.env.tasks.disjoint and STILL["opponent"] in self.env.tasks.names("test"):
            raise ValueError(
                f"test_opponents keeps '{STILL['opponent']}' for testing, whom self-play trains against: leave it out"
            )
        self.model, self.optimizer, self.module = (
            self.learner.model,
            self.learner.optimizer,
            self.learner.module,
        )
        self.env.tasks.fitting(ITSELF, self._arrays())
        self.module.register_buffer("iterations", torch.zeros((), dtype=torch.int64))
        self._iterations = max(
            1, round(experiment.steps / (config.learner.environments * self.model.n_steps))
        )
        self._shaping = self.env.world.shaping

    def collect(self, rng: np.random.Generator) -> Batch:
        """One episode or more in every simulation, against freshly drawn opponents."""
        number = int(self.module.iterations)
        self._bring_versions(number // self.config.snapshot_every)
        if self.config.shaping_until is not None:
            done = number / self._iterations / self.config.shaping_until
            self.env.world.shaping = self._shaping * max(0.0, 1.0 - done)
        self.module.iterations += 1
        batch = self.learner.collect(rng)
        batch.metrics["match/version"] = float(number // self.config.snapshot_every)
        batch.metrics["match/shaping"] = float(self.env.world.shaping)
        return batch

    def loss(self, data: None) -> tuple[Tensor, dict[str, Any]]:
        """Not asked for; see the learner's."""
        return self.learner.loss(data)

    def draw(self, env: VectorEnv, num: int, split: str, rng: np.random.Generator) -> list[dict]:
        """Whom the matches of one iteration are against.

        Args:
            env: The world.
            num: How many matches.
            split: Passed on.
            rng: Draws.
        """
        own = env.tasks.versions(ITSELF) if ITSELF in env.tasks.names() else []
        if not own:
            return [STILL] * num
        shares = (self.config.newest, self.config.still)
        counts = [round(num * share) for share in shares]
        tasks = [{"opponent": ITSELF, "version": own[-1]}] * counts[0] + [STILL] * counts[1]
        while len(tasks) < num:
            (task,) = env.tasks.sample(1, split, rng)
            if task["opponent"] == ITSELF and task["version"] < self.config.oldest * own[-1]:
                continue
            tasks.append(task)
        return [tasks[i] for i in rng.permutation(num)]

    def _bring_versions(self, newest: int) -> None:
        """Let the opponents be the versions of the learner up to the newest, the learner as it is."""
        tasks = self.env.tasks
        known = tasks.versions(ITSELF) if ITSELF in tasks.names() else []
        if known and known[-1] == newest:
            return
        for version in range(newest):
            if version not in known and (arrays := self._kept(version)) is not None:
                tasks.add(ITSELF, version, arrays)
        arrays = self._kept(newest) if int(self.module.iterations) % self.config.snapshot_every else None
        arrays = self._arrays() if arrays is None else arrays
        tasks.add(ITSELF, newest, arrays)
        if self.folder is not None:
            tensors = {name: torch.as_tensor(each) for name, each in arrays.items()}
            checkpoints.save(self._path(newest), tensors, {"version": newest})

    def _arrays(self) -> dict[str, np.ndarray]:
        """The learner as it is, as an opponent."""
        frame = {"canonical": np.ones((), np.float32)} if self.env.world.canonical else {}
        return of_learner(self.model) | frame

    def _path(self, version: int) -> Path:
        return self.folder / ITSELF / f"v{version:04d}"

    def _kept(self, version: int) -> dict[str, np.ndarray] | None:
        if self.folder is None or not self._path(version).with_suffix(".json").exists():
            return None
        return {name: each.numpy() for name, each in checkpoints.load(self._path(version))[0].items()}

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Share of matches won against the opponent that stands still, and against older versions of the learner."""
        newest = int(self.module.iterations) // self.config.snapshot_every
        known = self.env.tasks.versions(ITSELF) if ITSELF in self.env.tasks.names() else []
        tasks = {"still": STILL}
        for name, quarters in OLDER.items():
            version = quarters * newest // 4
            if version < newest and version in known:
                tasks[name] = {"opponent": ITSELF, "version": version}
        found = {}
        for name, task in tasks.items():
            lives = self.live([[task]] * 32, rng, self.methods[0])
            found[f"match/wins_against_{name}"] = float((lives.measures["score"] > 0).mean())
        return found

    def live(
        self, lifetimes: list[list[dict]], rng: np.random.Generator, *arguments: Any, **more: Any
    ) -> Lives:
        """Live lifetimes side by side, as the learner does."""
        return self.learner.live(lifetimes, rng, *arguments, **more)

    def returns_after_adapting(self, *arguments: Any, **more: Any) -> np.ndarray:
        """Mean returns, as the learner's."""
        return self.learner.returns_after_adapting(*arguments, **more)
