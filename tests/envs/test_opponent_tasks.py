"""Opponents as tasks, and games against one whose version rises."""

from collections import Counter

import numpy as np
import pytest
import torch

from metarl import checkpoints
from metarl.envs.lifetimes import RisingVersions, as_schedule
from metarl.envs.opponent_tasks import OpponentTasks, read_pool
from metarl.envs.opponents import OpponentPolicy


def policy(seed: int = 0, size: int = 4, actions: int = 2) -> OpponentPolicy:
    rng = np.random.default_rng(seed)
    return OpponentPolicy(
        {
            "obs_mean": np.zeros(size),
            "obs_std": np.ones(size),
            "obs_clip": np.array(5.0),
            "log_std": np.zeros(actions),
            "layers.0.weight": rng.standard_normal((actions, size)),
            "layers.0.bias": np.zeros(actions),
        }
    )


def tasks(test=()) -> OpponentTasks:
    opponents = {"a": {1: policy(1), 2: policy(2), 4: policy(4)}, "b": {1: policy(5)}}
    return OpponentTasks(opponents, test, observation_size=4, action_size=2)


def test_opponent_then_version_are_drawn_uniformly_and_zero_only_where_it_is_alone():
    drawn = tasks().sample(4000, "train", 0)
    counts = Counter((each["opponent"], each["version"]) for each in drawn)
    assert set(counts) == {("a", 1), ("a", 2), ("a", 4), ("b", 1)}
    assert counts["b", 1] / 4000 == pytest.approx(1 / 2, abs=0.04)
    assert counts["a", 4] / 4000 == pytest.approx(1 / 6, abs=0.03)
    alone = OpponentTasks({}, observation_size=4, action_size=2)
    assert alone.sample(2, "train", 0) == [{"opponent": "zero", "version": 0}] * 2
    assert alone.player({"opponent": "zero", "version": 0}) is None


def test_those_held_out_are_met_in_testing_only():
    found = tasks(test=["b"])
    assert found.disjoint
    assert {each["opponent"] for each in found.sample(100, "train", 0)} == {"a"}
    assert {each["opponent"] for each in found.sample(100, "test", 0)} == {"b"}
    assert found.contains({"opponent": "b", "version": 1}, "test")
    assert not found.contains({"opponent": "b", "version": 1}, "train")
    with pytest.raises(ValueError, match="did you mean 'b'"):
        tasks(test=["B"])
    with pytest.raises(ValueError, match=r"all opponents \(zero, a, b\) are held out"):
        tasks(test=["a", "zero", "b"])


def test_a_growing_pool_has_another_hash():
    found = tasks()
    before = found.split_hash
    found.add("a", 5, policy(9))
    assert found.split_hash != before
    assert found.versions("a") == [1, 2, 4, 5]
    twin = tasks()
    twin.adopt(found)
    assert twin.split_hash == found.split_hash
    found.add("c", 1, policy(6))
    assert twin.versions("c") == [1], "it has what the other gets later, too"
    assert twin.split_hash == found.split_hash


def test_the_hash_tells_policies_of_one_name_apart():
    one, other = tasks(), tasks()
    assert one.split_hash == other.split_hash
    other.add("a", 1, policy(77))
    assert one.split_hash != other.split_hash


def test_a_split_that_does_not_exist_is_refused():
    for ask in (tasks().names, tasks().enumerate):
        with pytest.raises(ValueError, match="unknown split 'tset'"):
            ask("tset")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"opponent": "a", "version": 3}, r"no version 3: it has 1 to 2, 4"),
        ({"opponent": "c", "version": 1}, "unknown opponent 'c'"),
        ({"opponent": "a"}, "has no 'version'"),
    ],
)
def test_tasks_without_an_opponent_are_refused(task, message):
    with pytest.raises(ValueError, match=message):
        tasks().check(task)


def test_opponents_of_another_body_and_versions_that_are_none_are_refused():
    with pytest.raises(ValueError, match="of another body"):
        tasks().add("a", 6, policy(size=5))
    with pytest.raises(ValueError, match="whole number from 0"):
        tasks().add("a", -1, policy())


def test_versions_rise_from_round_to_round_and_stay_at_the_last():
    schedule = as_schedule({"schedule": "rising-versions", "rounds": 4, "episodes_per_round": 2, "start": 1})
    assert schedule.episodes == 8
    game = next(each for each in schedule.enumerate(tasks(), "train") if each[0]["opponent"] == "a")
    assert [each["version"] for each in game] == [2, 2, 4, 4, 4, 4, 4, 4]
    rng = np.random.default_rng(0)
    drawn = schedule.draw(tasks(), "train", rng)
    assert len(drawn) == 8
    assert len({each["opponent"] for each in drawn}) == 1
    assert [each["version"] for each in RisingVersions(2, 1, step=2).draw(tasks(["b"]), "train", rng)] == [
        1,
        4,
    ]


def test_versions_rise_only_for_tasks_that_have_some():
    class Legs:
        keys = ("legs", "torque")

    with pytest.raises(ValueError, match="for tasks with 'opponent' and 'version'"):
        RisingVersions().check(Legs(), horizon=5)
    with pytest.raises(ValueError, match="start=3 passes over all versions: the opponents have 3"):
        RisingVersions(start=3).check(tasks(), horizon=5)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        RisingVersions(rounds=0)


def test_a_pool_is_read_from_its_folder(tmp_path):
    with pytest.raises(ValueError, match="no pool of opponents"):
        read_pool(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is empty"):
        read_pool(tmp_path)
    for name, version in (("a", 1), ("a", 12), ("b", 3)):
        arrays = {n: torch.tensor(x) for n, x in policy(version).arrays.items()}
        checkpoints.save(tmp_path / name / f"v{version:04d}", arrays, {"version": version})
    pool = read_pool(tmp_path)
    assert {name: sorted(each) for name, each in pool.items()} == {"a": [1, 12], "b": [3]}
    np.testing.assert_array_equal(
        pool["a"][12].arrays["layers.0.weight"], policy(12).arrays["layers.0.weight"]
    )
