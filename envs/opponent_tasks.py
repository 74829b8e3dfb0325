"""Opponents as tasks: whom one meets in a competitive world, and at which stage of its training.

A pool is a folder of opponents, each a folder of versions: `POOL/NAME/v0003.safetensors`, and a JSON file beside it.
Versions are numbered in the order of training. `zero`, which stands still, is always there. The pool `zoo` comes with the
package.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metarl.envs.crew import Player, check_player
from metarl.envs.opponents import OpponentPolicy, load_policy
from metarl.envs.task_distributions import Task, TaskDistribution, check_keys, check_split
from metarl.envs.zoo import ZOO_FOLDER
from metarl.names import unknown

ZERO = "zero"
"""The opponent that does nothing, of version 0."""
ZOO = "zoo"
"""The pool of the package, as which a user names it."""
Versions = dict[int, Player]
"""An opponent by version."""


def read_pool(path: str | Path) -> dict[str, Versions]:
    """All opponents of a pool.

    Args:
        path: Its folder, or `zoo`.

    Raises:
        ValueError: There is no such folder, it holds none, or a file is damaged.
    """
    path = ZOO_FOLDER if path == ZOO else Path(path)
    if not path.is_dir():
        raise ValueError(
            f"there is no pool of opponents at '{path}': expected a folder of NAME/v0001.safetensors"
        )
    pool: dict[str, Versions] = {}
    for file in sorted(path.glob("*/v*.safetensors")):
        number = re.fullmatch(r"v(\d+)", file.stem)
        if number:
            pool.setdefault(file.parent.name, {})[int(number[1])] = load_policy(file)
    if not pool:
        raise ValueError(f"the pool '{path}' is empty: expected files such as NAME/v0001.safetensors")
    return pool


class OpponentTasks(TaskDistribution):
    """An opponent and its version, both drawn uniformly, as Al-Shedivat et al. 2018 train (sec. 4.2).

    Args:
        opponents: By name and version; `zero` is added.
        test: Names of those that are kept for testing; with none, all are there for both.
        observation_size: Of every opponent.
        action_size: Likewise.

    Raises:
        ValueError: A name is unknown, or a policy has other sizes.
    """

    keys = ("opponent", "version")

    def __init__(
        self,
        opponents: Mapping[str, Versions],
        test: Sequence[str] = (),
        *,
        observation_size: int,
        action_size: int,
    ):
        self._sizes = (observation_size, action_size)
        self._opponents: dict[str, Versions] = {ZERO: {0: None}}
        for name, versions in opponents.items():
            for version, policy in versions.items():
                self.add(name, version, policy)
        for name in test:
            if name not in self._opponents:
                raise unknown("opponent", name, self._opponents)
        self._test = tuple(test)
        self.disjoint = bool(test)
        if not self.names("train"):
            raise ValueError(
                f"all opponents ({', '.join(self._opponents)}) are held out for testing: expected one to train with"
            )

    @property
    def rule(self) -> dict:
        """Who is there, and who is held out; policies by what is in them, other players by their kind."""
        return {
            "opponents": {
                name: {str(version): _kind(each[version]) for version in sorted(each)}
                for name, each in self._opponents.items()
            },
            "test": list(self._test),
        }

    def add(self, name: str, version: int, policy: Player | Mapping[str, NDArray]) -> None:
        """A further version of an opponent, or a further opponent.

        Args:
            name: The opponent's.
            version: From 0, in the order of training; one that is there already is replaced.
            policy: Who acts, or the arrays of an `OpponentPolicy`.

        Raises:
            ValueError: The policy is of another body, or the version is no number from 0.
        """
        if isinstance(version, bool) or not isinstance(version, int | np.integer) or version < 0:
            raise ValueError(f"an opponent's version is a whole number from 0, got {version!r}")
        policy = self.fitting(name, policy)
        self._opponents.setdefault(name, {})[int(version)] = policy

    def adopt(self, other: "OpponentTasks") -> None:
        """Have the opponents of another distribution from now on, those included that it will get."""
        self._opponents = other._opponents
        self._test, self.disjoint = other._test, other.disjoint

    def fitting(self, name: str, policy: Player | Mapping[str, NDArray]) -> Player:
        """An opponent, if it can be met here.

        Args:
            name: The opponent's, for the message.
            policy: As in `add`.

        Raises:
            ValueError: It is no opponent, or of another body.
        """
        if isinstance(policy, Mapping):
            policy = OpponentPolicy(policy)
        check_player(policy)
        expected = self._sizes
        if isinstance(policy, OpponentPolicy) and (policy.observation_size, policy.action_size) != expected:
            got = f"{policy.observation_size} observations and {policy.action_size} actions"
            raise ValueError(
                f"opponent '{name}' has {got}, expected {expected[0]} and {expected[1]}: it is of another body"
            )
        return policy

    def names(self, split: str = "all") -> list[str]:
        """Opponents of a split; `zero` is only for training, and only while there is no other.

        Raises:
            ValueError: If the split is unknown.
        """
        check_split(split)
        split = split if self._test else "all"
        chosen = [
            name for name in self._opponents if split == "all" or (name in self._test) == (split == "test")
        ]
        others = [name for name in chosen if name != ZERO]
        return others or chosen

    def versions(self, name: str) -> list[int]:
        """An opponent's versions, in the order of training."""
        if name not in self._opponents:
            raise unknown("opponent", name, self._opponents)
        return sorted(self._opponents[name])

    def player(self, task: Task) -> Player:
        """Who is met in a task."""
        return self._opponents[task["opponent"]][task["version"]]

    def _draw(self, split, rng):
        names = self.names(split)
        name = names[int(rng.integers(len(names)))]
        versions = self.versions(name)
        return {"opponent": name, "version": versions[int(rng.integers(len(versions)))]}

    def _contains(self, task, split):
        return task["opponent"] in self.names(split)

    def enumerate(self, split: str = "test") -> list[Task]:
        """Every version of every opponent of a split."""
        return [
            {"opponent": name, "version": each} for name in self.names(split) for each in self.versions(name)
        ]

    def check(self, task: Task) -> Task:
        """A copy of the task, whose opponent and version must be there."""
        check_keys(task, self.keys)
        versions = self.versions(str(task["opponent"]))
        if task["version"] not in versions:
            raise ValueError(
                f"opponent '{task['opponent']}' has no version {task['version']!r}: it has {_ranges(versions)}"
            )
        return {"opponent": str(task["opponent"]), "version": int(task["version"])}


def _kind(player: Player) -> str:
    """What tells a player from another: the digest of a policy, the type of what acts by itself."""
    if player is None:
        return ZERO
    return player.digest if isinstance(player, OpponentPolicy) else type(player).__name__


def _ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers in short: `1 to 4, 9`."""
    parts: list[list[int]] = []
    for each in numbers:
        if parts and each == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], each]
        else:
            parts.append([each])
    return ", ".join(" to ".join(map(str, part)) for part in parts)
