"""Schedules: what lifetimes they draw, their JSON form, and what they refuse."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest

from metarl.envs.lifetimes import Drift, LegFailure, Redraw, Switch, as_schedule
from metarl.envs.task_distributions import FiniteTasks, IntervalTasks, task_id
from tests.envs.lived import make, make_vec

KEYS = ("lifetime", "episode_index", "task_id", "lifetime_end", "task_changed")


def test_drift_by_hand():
    tasks = IntervalTasks("velocity", 0.0, 3.0)
    first, last = (task["velocity"] for task in tasks.sample(2, "train", 4))
    drawn = Drift(5).draw(tasks, "train", np.random.default_rng(4))
    assert [task["velocity"] for task in drawn] == pytest.approx(
        [first, 0.75 * first + 0.25 * last, (first + last) / 2, 0.25 * first + 0.75 * last, last], abs=1e-15
    )
    assert (drawn[0]["velocity"], drawn[-1]["velocity"]) == (first, last)
    with pytest.raises(ValueError, match="too many"):
        Drift(5).enumerate(tasks, "train")


def test_drift_of_nested_lists():
    env = make("metarl/HopperParams-v0", lifetime="drift")
    life = env.sample_lifetimes(1, "test", 0)[0]
    assert len(life) == 10
    assert env.tasks.contains(life[0], "test")
    assert env.tasks.contains(life[-1], "test")
    for key, value in life[0].items():
        between = (2 / 3) * np.array(value) + (1 / 3) * np.array(life[-1][key])
        np.testing.assert_allclose(life[3][key], between, rtol=1e-13)
    assert json.loads(json.dumps(life)) == life


def test_leg_failure_by_hand():
    env = make("metarl/HexapodLegFailure-v0")
    assert env.world.lifetime == LegFailure(7)
    test = env.enumerate_lifetimes("test")
    assert [life[0]["legs"] for life in test] == [[1, 2], [3, 4], [5, 6]]
    for life in env.enumerate_lifetimes("all"):
        assert [task["torque"] for task in life] == [1, 5 / 6, 2 / 3, 1 / 2, 1 / 3, 1 / 6, 0]
        assert {tuple(task["legs"]) for task in life} == {tuple(life[0]["legs"])}
        assert [env.tasks.check(task) for task in life] == life


def test_training_and_test_lifetimes_are_disjoint():
    for face in (make, make_vec):
        env = face("metarl/HexapodLegFailure-v0")
        train, test, every = (env.enumerate_lifetimes(split) for split in ("train", "test", "all"))
        assert (len(train), len(test), len(every)) == (12, 3, 15)
        assert not [life for life in train if life in test]
        assert all(life in every for life in train + test)
        assert all(life in train for life in env.sample_lifetimes(40, "train", 0))
        assert all(life in test for life in env.sample_lifetimes(40, "test", 0))
        drawn = env.sample_lifetimes(40, "test", 0)
        assert (
            drawn
            == env.sample_lifetimes(40, "test", 0)
            == env.sample_lifetimes(40, "test", np.random.default_rng(0))
        )
        assert drawn != env.sample_lifetimes(40, "test", 1)


def test_a_fixed_task_stays_in_every_split():
    task = {"legs": [4, 3], "torque": 0.0}
    checked = {"legs": [3, 4], "torque": 0.0}
    for face in (make, make_vec):
        env = face("metarl/HexapodLegFailure-v0", lifetime={"schedule": "fixed", "task": task, "episodes": 2})
        for split in ("train", "test"):
            assert env.enumerate_lifetimes(split) == [[checked] * 2]
            assert env.sample_lifetimes(2, split, 0) == [[checked] * 2] * 2


def test_redraw_draws_from_the_split():
    env = make("metarl/CheetahVel-v0", lifetime=Redraw(4))
    for split in ("train", "test"):
        for life in env.sample_lifetimes(5, split, 3):
            assert len({task["velocity"] for task in life}) == 4
            assert all(env.tasks.contains(task, split) for task in life)


def test_switch_never_stays_if_it_can_go():
    two, one = FiniteTasks("direction", (1.0, -1.0)), FiniteTasks("direction", (1.0, -1.0), (-1.0,))
    rng = np.random.default_rng(0)
    signs = [task["direction"] for task in Switch(every=1, per_episode=2, episodes=8).draw(two, "train", rng)]
    assert [a * b for a, b in pairwise(signs)] == [-1.0] * 15
    assert Switch(per_episode=3).draw(one, "test", rng) == [{"direction": -1.0}] * 3
    many = IntervalTasks("velocity", 0.0, 3.0)
    schedule = Switch(every=1, per_episode=3, episodes=2)
    three = FiniteTasks("place", (1.0, 2.0, 3.0))
    for tasks in (three, many):
        for seed in range(20):
            lifetime = schedule.draw(tasks, "train", np.random.default_rng(seed))
            for number in (0, 1):
                met = [task for _, task in schedule.course(lifetime, number, horizon=9)]
                assert all(first != second for first, second in pairwise(met)), "round and round"


def test_json_form():
    assert as_schedule({"schedule": "drift", "episodes": 4}) == Drift(4)
    assert as_schedule("leg-failure") == LegFailure(7)
    assert as_schedule({"schedule": "switch", "every": 20}) == Switch(every=20, per_episode=2, episodes=1)
    assert as_schedule(Redraw(2)) == Redraw(2)


@pytest.mark.parametrize(
    ("lifetime", "message"),
    [
        ("drfit", "unknown schedule 'drfit': did you mean 'drift'"),
        ({"schedule": "drift", "episods": 3}, "did you mean 'episodes'"),
        ({"schedule": "drift", "episodes": 1}, "episodes must be at least 2, got 1"),
        ({"schedule": "drift", "episodes": "3"}, "episodes"),
        ({"schedule": "fixed"}, "no value for task"),
        ({"schedule": "fixed", "task": {"speed": 1.0}}, "velocity"),
        ({"schedule": "redraw", "episodes": 0}, "episodes must be at least 1"),
        ({"schedule": "switch", "every": 0}, "every must be at least 1"),
        ({"schedule": "switch", "per_episode": 1}, "per_episode must be at least 2"),
        ({"schedule": "switch", "per_episode": 3}, "200 steps: with every=100 its 3 tasks need 201 or more"),
        ({"episodes": 3}, "lifetime must be a schedule, such as"),
        (7, "lifetime must be a schedule, such as"),
        ("leg-failure", "for tasks with 'legs' and 'torque'"),
    ],
)
def test_mistakes_are_named(lifetime, message):
    for face in (make, make_vec):
        with pytest.raises(ValueError, match=message):
            face("metarl/CheetahVel-v0", lifetime=lifetime)


@pytest.mark.parametrize("world", ["CheetahDir", "AntDir", "HexapodLegFailure", "RoboSumo-Ant-vs-Ant"])
def test_what_has_nothing_between_cannot_drift(world):
    opponents = {"opponents": "zoo"} if "Sumo" in world else {}
    with pytest.raises(ValueError, match="cannot drift"):
        make(f"metarl/{world}-v0", lifetime="drift", **opponents)


def test_worlds_without_a_schedule_say_so():
    for env in (make("metarl/CheetahVel-v0"), make_vec("metarl/CheetahVel-v0")):
        with pytest.raises(ValueError, match="lifetime="):
            env.sample_lifetimes(1)
        with pytest.raises(ValueError, match="lifetime="):
            env.enumerate_lifetimes("test")
        with pytest.raises(ValueError, match="lifetime="):
            env.reset(seed=0, options={"new_lifetime": True})
        assert not set(KEYS) & set(env.reset(seed=0)[1])
        assert not set(KEYS) & set(env.step(env.action_space.sample())[4])
    with pytest.raises(ValueError, match="did you mean 'lifetime'"):
        make("metarl/CheetahVel-v0", lifetimes="drift")


def test_lifetimes_of_tasks_that_change_within_episodes():
    """Each episode is what it goes through: steps and tasks, by turns up to the horizon."""
    schedule = Switch(every=4, per_episode=2, episodes=3)
    for face in (make, make_vec):
        env = face("metarl/CheetahVel-v0", lifetime=schedule, horizon=10)
        (life,) = env.sample_lifetimes(1, "test", 3)
        drawn = schedule.draw(env.tasks, "test", np.random.default_rng(3))
        assert life == [
            [(0, drawn[0]), (4, drawn[1]), (8, drawn[0])],
            [(0, drawn[2]), (4, drawn[3]), (8, drawn[2])],
            [(0, drawn[4]), (4, drawn[5]), (8, drawn[4])],
        ]
        with pytest.raises(ValueError, match="too many"):
            env.enumerate_lifetimes("test")


def test_the_task_id_is_that_of_the_task_at_hand():
    schedule = {"schedule": "switch", "every": 2, "per_episode": 2, "episodes": 2}
    env = make("metarl/CheetahDir-v0", lifetime=schedule, horizon=6)
    ids = {direction: task_id({"direction": direction}) for direction in (1.0, -1.0)}
    for seed in (0, None, None):
        info = env.reset(seed=seed)[1]
        assert info["task_id"] == ids[info["task"]["direction"]]
        met = [info["task_id"]]
        for _ in range(6):
            met.append(env.step(np.zeros(6))[4]["task_id"])
            assert met[-1] == ids[env.get_task()["direction"]]
        one, other = met[2], met[3]
        assert met == [one, one, one, other, other, one, one]  # by turns
        assert one != other
    env.set_task({"direction": 1.0})  # a pinned task has the same
    assert env.reset()[1]["task_id"] == env.step(np.zeros(6))[4]["task_id"] == ids[1.0]


def test_equal_tasks_have_equal_ids():
    # The first 53 bits of the SHA-256 of '{"legs": [1.0, 2.0], "torque": 0.5}'.
    text = b'{"legs": [1.0, 2.0], "torque": 0.5}'
    expected = int(hashlib.sha256(text).hexdigest()[:16], 16) // 2**11
    assert task_id({"legs": [1, 2], "torque": 0.5}) == expected
    assert task_id({"torque": np.float64(0.5), "legs": np.array([1, 2])}) == expected
    assert task_id({"velocity": 0.0}) == task_id({"velocity": -0.0}) != task_id({"velocity": 1e-300})
    assert task_id({"opponent": "zero", "version": 0}) == task_id({"version": 0, "opponent": "zero"})
    tasks = IntervalTasks("velocity", 0.0, 3.0).sample(1000, "all", 0)
    assert len({task_id(task) for task in tasks}) == 1000
    assert all(0 <= task_id(task) < 2**53 for task in tasks)
