"""Task distributions: what may change in a world, and which of it is held out for testing.

A task is a plain dict of numbers and lists, fit for JSON. A distribution draws tasks from a split:

* ``"train"`` what an agent may meet while it meta-trains,
* ``"test"`` what is held out,
* ``"all"`` both together.

Continuous ranges are cut into cells and every few cells one is held out, so that testing is interpolation:
each test task lies between training tasks, and none of them was ever trained on.
"""

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import numpy as np

from metarl.names import nearest, unknown

Task = dict[str, Any]
SPLITS = ("train", "test", "all")
# Draws keep off the borders of their cell by this share of it, so that rounding moves none across.
BORDER = 1e-9


class TaskDistribution(ABC):
    """Tasks of one world, split into training and test tasks.

    Attributes:
        disjoint: Whether no test task is a training task.
        rule: The split in numbers, fit for JSON; the hash is taken over it.
    """

    disjoint: bool = True
    rule: dict[str, Any]
    keys: tuple[str, ...]

    @abstractmethod
    def _draw(self, split: str, rng: np.random.Generator) -> Task:
        """One task of a split."""

    @abstractmethod
    def _contains(self, task: Task, split: str) -> bool:
        """Whether a well-formed task lies in a split."""

    @abstractmethod
    def check(self, task: Task) -> Task:
        """A copy of a well-formed task; values outside the range are allowed (extrapolation).

        Raises:
            ValueError: If keys, shapes or numbers are not those of a task of this distribution.
        """

    def sample(
        self, num: int, split: str = "train", rng: np.random.Generator | int | None = None
    ) -> list[Task]:
        """Independent draws.

        Args:
            num: How many tasks.
            split: ``"train"``, ``"test"`` or ``"all"``.
            rng: A generator or a seed; the same one gives the same tasks.

        Returns:
            ``num`` tasks.

        Raises:
            ValueError: If the split is unknown.
        """
        check_split(split)
        rng = np.random.default_rng(rng)
        return [self._draw(split, rng) for _ in range(num)]

    def enumerate(self, split: str = "train") -> list[Task]:
        """Every task of a finite split.

        Raises:
            ValueError: If the split has infinitely many tasks.
        """
        check_split(split)
        raise ValueError(
            f"the {split} tasks of {type(self).__name__} are infinitely many: draw some with sample()"
        )

    def name(self, task: Task) -> str:
        """What people call a task, for tables and captions; empty if it has no name."""
        return ""

    def contains(self, task: Task, split: str = "all") -> bool:
        """Whether a task belongs to a split; False for what is no task of this distribution at all."""
        check_split(split)
        try:
            return self._contains(self.check(task), split)
        except ValueError:
            return False

    @property
    def split_hash(self) -> str:
        """SHA-256 of the split's rule: equal for equal splits, on every machine and in every process."""
        text = json.dumps({"kind": type(self).__name__, **self.rule}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.keys)}; split {self.split_hash[:8]})"


def task_id(task: Task) -> int:
    """A number that names a task: the same for equal tasks, on every machine and in every process.

    It is below 2 ** 53, so that JSON and floats hold it exactly. Unequal tasks have different ones, but for a chance of
    about n ** 2 / 2 ** 54 that two of n tasks have the same.
    """
    text = json.dumps({key: _as_floats(value) for key, value in task.items()}, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11


def _as_floats(value: Any) -> Any:
    """What is equal becomes the same text: 1 and 1.0, 0.0 and -0.0, lists and arrays."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_as_floats(each) for each in value]
    return value if isinstance(value, str) else float(value) + 0.0


def check_split(split: str) -> None:
    """Refuse a split that does not exist.

    Raises:
        ValueError: Naming the nearest.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)


def check_keys(task: Task, keys: Collection[str]) -> None:
    """Refuse what is no dict with these keys.

    Raises:
        ValueError: Saying what is unknown, with the nearest name, or missing.
    """
    if not isinstance(task, dict):
        raise ValueError(f"a task is a dict with keys {sorted(keys)}, got {type(task).__name__}")
    for key in task:
        if key not in keys:
            raise ValueError(f"unknown key '{key}' in task: {nearest(str(key), keys)}")
    for key in keys:
        if key not in task:
            raise ValueError(f"task {task} has no '{key}': expected keys {sorted(keys)}")


def numbers(task: Task, shapes: dict[str, tuple[int, ...]]) -> Task:
    """The task as plain floats and nested lists, its keys and shapes checked."""
    check_keys(task, shapes)
    result = {}
    for key, shape in shapes.items():
        try:
            value = np.asarray(task[key], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"task['{key}'] must be numbers of shape {shape}, got {task[key]!r}") from error
        if value.shape != shape or not np.isfinite(value).all():
            raise ValueError(f"task['{key}'] must be finite numbers of shape {shape}, got {task[key]!r}")
        result[key] = value.tolist()
    return result


class FiniteTasks(TaskDistribution):
    """A short list of values of one number.

    With no value held out, both splits hold them all and ``disjoint`` is False: whoever can only run forward
    or backward has nothing left to be tested on, and a result on it shows adaptation, not generalisation.

    Args:
        key: Name of the number in the task.
        values: All of its values.
        held_out: Those that are for testing only.
    """

    def __init__(self, key: str, values: tuple[float, ...], held_out: tuple[float, ...] = ()):
        self.key, self.keys = key, (key,)
        self.values, self.held_out = tuple(map(float, values)), tuple(map(float, held_out))
        if not set(self.held_out) < set(self.values):
            raise ValueError(f"held_out={held_out} must be some, not all, of values={values}")
        self.disjoint = bool(held_out)
        self.rule = {"key": key, "values": self.values, "held_out": self.held_out}

    def _of(self, split: str) -> tuple[float, ...]:
        if split == "all" or not self.held_out:
            return self.values
        return self.held_out if split == "test" else tuple(v for v in self.values if v not in self.held_out)

    def _draw(self, split, rng):
        values = self._of(split)
        return {self.key: values[int(rng.integers(len(values)))]}

    def _contains(self, task, split):
        return task[self.key] in self._of(split)

    def enumerate(self, split: str = "train") -> list[Task]:
        """Every task of a split, in the order in which the values were given."""
        check_split(split)
        return [{self.key: value} for value in self._of(split)]

    def check(self, task: Task) -> Task:
        """A copy of the task; its value must be one of the list."""
        task = numbers(task, {self.key: ()})
        if task[self.key] not in self.values:
            raise ValueError(f"task['{self.key}'] must be one of {self.values}, got {task[self.key]}")
        return task


class IntervalTasks(TaskDistribution):
    """One number, uniform on an interval, of which every few cells one is held out.

    Args:
        key: Name of the number in the task.
        low: Lower end.
        high: Upper end.
        cells: Number of equal cells the interval is cut into.
        every: Cell c is a test cell when ``c % every == every // 2``.
    """

    def __init__(self, key: str, low: float, high: float, cells: int = 30, every: int = 5):
        _check_cells(cells, every)
        if not low < high:
            raise ValueError(f"expected low < high, got low={low}, high={high}")
        self.key, self.keys = key, (key,)
        self.low, self.high, self.cells, self.every = float(low), float(high), cells, every
        self.rule = {"key": key, "low": self.low, "high": self.high, "cells": cells, "every": every}
        index = np.arange(cells)
        self._cells = _split_cells(index % every == every // 2)

    def _draw(self, split, rng):
        cell = _pick(self._cells[split], rng)
        place = (cell + rng.uniform(BORDER, 1 - BORDER)) / self.cells
        return {self.key: float(self.low + (self.high - self.low) * place)}

    def _contains(self, task, split):
        place = (task[self.key] - self.low) / (self.high - self.low)
        return 0 <= place < 1 and int(place * self.cells) in self._cells[split]

    def check(self, task: Task) -> Task:
        """A copy of the task; any finite number will do."""
        return numbers(task, {self.key: ()})


class GridTasks(TaskDistribution):
    """A point, uniform in a square around the origin, of which an even pattern of grid cells is held out.

    Args:
        key: Name of the point in the task.
        half: Half the side of the square, in metres.
        cells: Cells along each side.
        every: Cell (i, j) is a test cell when ``(i + 2 j) % every == every // 2``, so that by the default no
            two of them touch by a side.
    """

    def __init__(self, key: str, half: float, cells: int = 10, every: int = 5):
        _check_cells(cells, every)
        if not half > 0:
            raise ValueError(f"half the side of the square must be positive, got {half}")
        self.key, self.keys, self.half, self.cells, self.every = key, (key,), float(half), cells, every
        self.rule = {"key": key, "half": self.half, "cells": cells, "every": every}
        column, row = np.divmod(np.arange(cells * cells), cells)
        self._cells = _split_cells((column + 2 * row) % every == every // 2)

    def _draw(self, split, rng):
        cell = np.array(divmod(_pick(self._cells[split], rng), self.cells))
        place = (cell + rng.uniform(BORDER, 1 - BORDER, 2)) / self.cells
        return {self.key: ((2 * place - 1) * self.half).tolist()}

    def _contains(self, task, split):
        place = (np.asarray(task[self.key]) / self.half + 1) / 2
        if not ((place >= 0) & (place < 1)).all():
            return False
        column, row = (place * self.cells).astype(int)
        return int(column * self.cells + row) in self._cells[split]

    def check(self, task: Task) -> Task:
        """A copy of the task; any finite point will do."""
        return numbers(task, {self.key: (2,)})


class SectorTasks(TaskDistribution):
    """A point, uniform in area on a disc around the origin, of which every few sectors one is held out.

    Args:
        key: Name of the point in the task.
        radius: Radius of the disc in metres; a draw lies at ``radius * sqrt(u)``.
        sectors: Number of equal sectors, counted anticlockwise from the x axis.
        every: Sector c is a test sector when ``c % every == every // 2``.
    """

    def __init__(self, key: str, radius: float, sectors: int = 20, every: int = 5):
        _check_cells(sectors, every)
        if not radius > 0:
            raise ValueError(f"the radius must be positive, got {radius}")
        self.key, self.keys, self.radius, self.sectors, self.every = (
            key,
            (key,),
            float(radius),
            sectors,
            every,
        )
        self.rule = {"key": key, "radius": self.radius, "sectors": sectors, "every": every}
        self._cells = _split_cells(np.arange(sectors) % every == every // 2)

    def _draw(self, split, rng):
        sector = _pick(self._cells[split], rng)
        angle = 2 * np.pi * (sector + rng.uniform(BORDER, 1 - BORDER)) / self.sectors
        radius = self.radius * np.sqrt(rng.uniform(BORDER, 1 - BORDER))
        return {self.key: [float(radius * np.cos(angle)), float(radius * np.sin(angle))]}

    def _contains(self, task, split):
        x, y = task[self.key]
        sector = int((np.arctan2(y, x) / (2 * np.pi)) % 1.0 * self.sectors) % self.sectors
        return bool(np.hypot(x, y) <= self.radius) and sector in self._cells[split]

    def check(self, task: Task) -> Task:
        """A copy of the task; any finite point will do."""
        return numbers(task, {self.key: (2,)})


class MultiplierTasks(TaskDistribution):
    """Multipliers of a body's parameters, log-uniform and independent: ``base ** U(-limit, limit)`` each.

    The test tasks are a fixed list drawn once from the same range by ``seed``; training draws are new every
    time and never one of the list.

    Args:
        shapes: Shape of each parameter's multipliers by name.
        bases: Base of each parameter by name.
        limit: Largest absolute exponent.
        num_test: Length of the list of test tasks.
        seed: Seed of that list.
    """

    def __init__(
        self,
        shapes: dict[str, tuple[int, ...]],
        bases: dict[str, float],
        limit: float = 3.0,
        num_test: int = 40,
        seed: int = 0,
    ):
        if not limit > 0 or num_test < 1:
            raise ValueError(f"expected limit > 0 and num_test >= 1, got limit={limit}, num_test={num_test}")
        self.keys, self.shapes, self.bases, self.limit = (
            tuple(shapes),
            dict(shapes),
            dict(bases),
            float(limit),
        )
        rng = np.random.default_rng(seed)
        self._test = [self._any(rng) for _ in range(num_test)]
        self._list = np.stack([self._flat(task) for task in self._test])
        tasks = [{key: np.round(value, 9).tolist() for key, value in task.items()} for task in self._test]
        self.rule = {"bases": self.bases, "limit": self.limit, "tasks": tasks}

    def _any(self, rng: np.random.Generator) -> Task:
        exponents = {key: rng.uniform(-self.limit, self.limit, shape) for key, shape in self.shapes.items()}
        return {key: (self.bases[key] ** value).tolist() for key, value in exponents.items()}

    def _draw(self, split, rng):
        if split == "test":
            return copy.deepcopy(self._test[int(rng.integers(len(self._test)))])
        while True:
            task = self._any(rng)
            if split == "all" or not self._listed(task):
                return task

    def _flat(self, task: Task) -> np.ndarray:
        return np.concatenate([np.ravel(task[key]) for key in self.keys])

    def _listed(self, task: Task) -> bool:
        return bool((np.abs(self._list - self._flat(task)) <= 1e-9 * self._list).all(axis=1).any())

    def _contains(self, task, split):
        for key in self.keys:
            exponents = np.log(np.maximum(task[key], 1e-300)) / np.log(self.bases[key])
            if (np.abs(exponents) > self.limit + 1e-9).any():
                return False
        return split == "all" or self._listed(task) == (split == "test")

    def enumerate(self, split: str = "test") -> list[Task]:
        """The fixed test tasks; the other splits are infinite."""
        return copy.deepcopy(self._test) if split == "test" else super().enumerate(split)

    def check(self, task: Task) -> Task:
        """A copy of the task; multipliers must be positive."""
        task = numbers(task, self.shapes)
        for key in self.keys:
            if not (np.asarray(task[key]) > 0).all():
                raise ValueError(f"multipliers must be positive, got task['{key}'] = {task[key]}")
        return task


def _check_cells(cells: int, every: int) -> None:
    if not 2 <= every <= cells:
        raise ValueError(f"expected 2 <= every <= number of cells, got every={every} and {cells} cells")


def _pick(cells: list[int], rng: np.random.Generator) -> int:
    """One of the cells."""
    return cells[int(rng.integers(len(cells)))]


def _split_cells(test: np.ndarray) -> dict[str, list[int]]:
    """The indices of the cells of each split, from a mask of the test cells."""
    return {
        "train": np.flatnonzero(~test).tolist(),
        "test": np.flatnonzero(test).tolist(),
        "all": list(range(len(test))),
    }
