"""Task distributions: reproducible, disjoint, and as wide as they say."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metarl.envs.task_distributions import (
    FiniteTasks,
    GridTasks,
    IntervalTasks,
    MultiplierTasks,
    SectorTasks,
)

PARAMETERS = {"mass": (3,), "friction": (2, 3)}
BASES = {"mass": 1.5, "friction": 1.5}
CONTINUOUS = {
    "interval": lambda: IntervalTasks("velocity", 0.0, 3.0),
    "grid": lambda: GridTasks("goal", 0.5),
    "sector": lambda: SectorTasks("goal", 3.0),
    "multiplier": lambda: MultiplierTasks(PARAMETERS, BASES),
}
ALL = {**CONTINUOUS, "finite": lambda: FiniteTasks("leg", (0, 1, 2, 3), held_out=(3,))}

HASHES = {
    "finite": "2dac7dae1aa9",
    "grid": "afba152bc65c",
    "interval": "0244506f6899",
    "multiplier": "d4724552bf83",
    "sector": "8673655f8464",
}


@pytest.mark.parametrize("name", ALL)
def test_splits_are_disjoint_and_contain_their_own(name):
    tasks = ALL[name]()
    assert tasks.disjoint
    for split, other in (("train", "test"), ("test", "train")):
        for task in tasks.sample(300, split, 0):
            assert tasks.contains(task, split)
            assert not tasks.contains(task, other)
            assert tasks.contains(task, "all")


@pytest.mark.parametrize("name", ALL)
def test_draws_follow_the_generator(name):
    tasks = ALL[name]()
    assert tasks.sample(5, "all", 3) == tasks.sample(5, "all", np.random.default_rng(3))
    assert tasks.sample(5, "all", 3) != tasks.sample(5, "all", 4)
    assert json.loads(json.dumps(tasks.sample(3, "train", 1))) == tasks.sample(3, "train", 1)


def test_hashes_are_these_for_ever():
    """A changed hash means that results made before are of another split."""
    assert {name: make().split_hash[:12] for name, make in ALL.items()} == HASHES
    assert IntervalTasks("velocity", 0.0, 2.0).split_hash != ALL["interval"]().split_hash


def test_hash_is_the_same_in_another_process():
    code = "from metarl.envs.task_distributions import GridTasks; print(GridTasks('goal', 0.5).split_hash)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == ALL["grid"]().split_hash


def test_interval_cells_by_hand():
    tasks = IntervalTasks("velocity", 0.0, 3.0)
    test = {cell for cell in range(30) if tasks.contains({"velocity": 0.1 * cell + 0.05}, "test")}
    assert test == {2, 7, 12, 17, 22, 27}
    assert not tasks.contains({"velocity": 3.0})
    assert not tasks.contains({"velocity": -0.01})
    share = np.mean([tasks.contains(task, "test") for task in tasks.sample(5000, "all", 0)])
    assert abs(share - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 5000)


def test_interval_draws_are_uniform():
    draws = np.array([task["v"] for task in IntervalTasks("v", 0, 3).sample(6000, "all", 0)])
    assert abs(draws.mean() - 1.5) < 4 * np.sqrt(9 / 12 / 6000)
    assert abs(draws.var() - 9 / 12) < 0.03


def test_grid_cells_by_hand():
    tasks = GridTasks("goal", 0.5)
    held = {
        (i, j)
        for i in range(10)
        for j in range(10)
        if tasks.contains({"goal": [-0.45 + 0.1 * i, -0.45 + 0.1 * j]}, "test")
    }
    assert len(held) == 20
    assert (2, 0) in held
    assert (0, 1) in held
    assert not any((i + 1, j) in held or (i, j + 1) in held for i, j in held)
    goals = np.array([task["goal"] for task in tasks.sample(4000, "all", 0)])
    assert np.abs(goals).max() <= 0.5
    np.testing.assert_allclose(goals.var(axis=0), 1 / 12, atol=0.005)


def test_sectors_by_hand():
    tasks = SectorTasks("goal", 3.0)
    at = {c: np.pi / 10 * (c + 0.5) for c in range(20)}
    held = {c for c, a in at.items() if tasks.contains({"goal": [2 * np.cos(a), 2 * np.sin(a)]}, "test")}
    assert held == {2, 7, 12, 17}
    assert not tasks.contains({"goal": [3.0, 0.1]})
    radii = np.array([np.hypot(*task["goal"]) for task in tasks.sample(4000, "all", 0)])
    # Uniform in area: the squared radius is uniform on [0, 9].
    assert abs((radii**2).mean() - 4.5) < 4 * np.sqrt(81 / 12 / 4000)


def test_multipliers_are_log_uniform_and_listed():
    tasks = MultiplierTasks(PARAMETERS, BASES, limit=2.0, num_test=7)
    assert len(tasks.enumerate("test")) == 7
    draws = np.log([task["mass"] for task in tasks.sample(2000, "train", 0)]) / np.log(1.5)
    assert np.abs(draws).max() <= 2
    np.testing.assert_allclose(draws.var(), 4 / 3, rtol=0.05)
    assert np.shape(tasks.sample(1)[0]["friction"]) == (2, 3)
    assert all(task in tasks.enumerate("test") for task in tasks.sample(50, "test", 1))
    with pytest.raises(ValueError, match="infinitely many"):
        tasks.enumerate("train")
    with pytest.raises(ValueError, match="positive"):
        tasks.check({"mass": [1, -1, 1], "friction": np.ones((2, 3))})


def test_two_directions_cannot_be_held_out():
    tasks = FiniteTasks("direction", (1.0, -1.0))
    assert not tasks.disjoint
    assert tasks.enumerate("train") == tasks.enumerate("test") == [{"direction": 1.0}, {"direction": -1.0}]
    with pytest.raises(ValueError, match="must be one of"):
        tasks.check({"direction": 0.5})
    assert not tasks.contains({"direction": 0.5})


def test_finite_tasks_held_out():
    tasks = ALL["finite"]()
    assert tasks.enumerate("train") == [{"leg": 0.0}, {"leg": 1.0}, {"leg": 2.0}]
    assert tasks.enumerate("test") == [{"leg": 3.0}]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"velocty": 1.0}, "did you mean 'velocity'"),
        ({}, "no 'velocity'"),
        ({"velocity": float("nan")}, "finite"),
        ({"velocity": [1.0, 2.0]}, "shape"),
        ({"velocity": "fast"}, "must be numbers"),
        (3.0, "a task is a dict"),
    ],
)
def test_malformed_tasks_are_named(task, message):
    with pytest.raises(ValueError, match=message):
        IntervalTasks("velocity", 0.0, 3.0).check(task)


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="did you mean 'train'"):
        IntervalTasks("velocity", 0.0, 3.0).sample(1, "tran")


@pytest.mark.parametrize("name", ["interval", "grid", "sector"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_no_seed_crosses_the_border(name, seed):
    tasks = CONTINUOUS[name]()
    assert tasks.contains(tasks.sample(1, "train", seed)[0], "train")
    assert tasks.contains(tasks.sample(1, "test", seed)[0], "test")
