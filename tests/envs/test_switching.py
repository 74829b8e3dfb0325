"""Tasks that switch within an episode, by a schedule or pinned as a course."""

import pickle

import numpy as np
import pytest

from metarl.envs.lifetimes import Switch
from metarl.envs.task_distributions import task_id
from tests.envs.lived import SEED, actions_for, assert_same, make, make_vec, place, play


def test_a_pinned_task_does_not_switch():
    env = make("metarl/AntDir-v0", horizon=6, lifetime=Switch(every=2))
    env.reset(seed=0, options={"task": {"direction": -1.0}})
    assert not any(info["task_changed"] for info in play(env))
    assert env.get_task() == {"direction": -1.0}


def test_switch_within_an_episode():
    env = make("metarl/AntDir-v0", horizon=9, lifetime=Switch(every=3, per_episode=2, episodes=2))
    _, info = env.reset(seed=0)
    first = info["task"]["direction"]
    changed, directions = [], []
    for _ in range(9):
        velocity = env.world.simulation.qpos[0, 0]
        info = env.step(env.action_space.sample())[4]
        velocity = (env.world.simulation.qpos[0, 0] - velocity) / env.world.dt
        changed.append(info["task_changed"])
        directions.append(info["reward_forward"] / velocity)
        assert env.get_task() == {"direction": pytest.approx(directions[-1])}
    # The fourth step is the first under the new task; the third task of the episode is the first one again.
    assert changed == [False, False, False, True, False, False, True, False, False]
    np.testing.assert_allclose(directions, first * np.repeat([1.0, -1.0, 1.0], 3))


def test_switch_changes_the_physics_and_only_those():
    """Up to the switch all is as under the first task; then as if the second were put upon that very state."""
    env, twin = (make("metarl/WalkerParams-v0", lifetime=each) for each in (Switch(every=4), None))
    first, info = env.reset(seed=2)
    np.testing.assert_array_equal(first, twin.reset(seed=2, options={"task": info["task"]})[0])
    tasks, switched, same = [info["task"]], [], []
    for number, action in enumerate(actions_for(env, 8)):
        if number == 4:
            kept = twin.get_state()
            same = twin.step(action)[0]
            twin.set_state(kept)
            env_mass = env.world.simulation.snapshot(0)[0].body_mass.copy()
            assert env.get_task() == tasks[0]
        mine = env.step(action)
        if number == 4:
            tasks.append(env.get_task())
            twin.world.apply(np.arange(1), [tasks[1]])
            assert np.abs(env.world.simulation.snapshot(0)[0].body_mass - env_mass).max() > 0.01
            assert np.abs(mine[0] - same).max() > 1e-3
        theirs = twin.step(action)
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1] == theirs[1]
        switched.append(mine[4]["task_changed"])
    assert tasks[0] != tasks[1]
    assert switched == [False] * 4 + [True] + [False] * 3


@pytest.mark.parametrize("world", ["metarl/WalkerParams-v0", "metarl/AntDir-v0"])
def test_a_pinned_course_is_lived_as_the_schedule_lives_it(world):
    """Pinned in a world without a schedule, with both faces, it gives the same numbers as the schedule that drew it."""
    schedule = Switch(every=3, per_episode=2, episodes=2)
    env = make(world, horizon=8, lifetime=schedule)
    pinned = make(world, horizon=8)
    several = make_vec(world, 2, horizon=8, autoreset_mode="Disabled")
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(0,)))
    drawn = schedule.draw(env.tasks, "train", rng)
    actions = actions_for(env, 8)
    for number in range(2):
        course = schedule.course(drawn, number, 8)
        first, info = env.reset(**({"seed": SEED} if number == 0 else {}))
        seed = {"seed": SEED} if number == 0 else {}
        np.testing.assert_array_equal(first, pinned.reset(**seed, options={"task": course})[0])
        obs = several.reset(**seed, options={"tasks": [drawn[0], course]} if number else {"task": course})[0]
        if number == 0:
            np.testing.assert_array_equal(first, obs[0])
        assert info["task"] == pinned.get_task() == course[0][1]
        for step, action in enumerate(actions):
            one, other = env.step(action), pinned.step(action)
            np.testing.assert_array_equal(one[0], other[0])
            assert one[1:4] == other[1:4]
            both = several.step(np.stack([action] * 2))
            if number == 0:
                np.testing.assert_array_equal(one[0], both[0][0])
            assert env.get_task() == pinned.get_task() == course[step // 3][1]
            assert several.get_task()[1] == course[step // 3][1]
            assert several.get_task()[0] == (drawn[0] if number else course[step // 3][1])


def test_a_pinned_course_stays_and_tells_its_switches():
    schedule = Switch(every=3)
    task, other = {"direction": 1.0}, {"direction": -1.0}
    env = make("metarl/AntDir-v0", horizon=4, lifetime=schedule)
    env.reset(seed=0)
    env.set_task([(0, task), (1, other), (3, task)])
    for number in range(2):  # at every reset anew
        info = env.reset()[1]
        assert (place(info), info["task"]) == ((-1, -1), task)
        infos = play(env, np.zeros(8))
        assert [info["task_changed"] for info in infos] == [False, True, False, True]
        assert [info["task_id"] for info in infos] == [task_id(each) for each in (task, other, other, task)]
        if number == 0:
            env.reset(), env.step(np.zeros(8))
            twin = pickle.loads(pickle.dumps(env))  # in the midst of one
            assert_same(env.step(np.zeros(8)), twin.step(np.zeros(8)))
            assert env.get_task() == twin.get_task() == other
    env.set_task(None)
    assert place(env.reset()[1]) == (1, 0)


@pytest.mark.parametrize(
    ("course", "message"),
    [
        ([(1, {"direction": 1.0})], "the first at 0, got \\[1\\]"),
        ([(0, {"direction": 1.0}), (5, {"direction": -1.0}), (5, {"direction": 1.0})], "rising steps"),
        ([(0, {"direction": 2.0})], "must be one of"),
        ([(0, {"direction": 1.0}), {"direction": 1.0}], "pairs of a step and a task"),
    ],
)
def test_malformed_courses_are_refused(course, message):
    with pytest.raises(ValueError, match=message):
        make("metarl/AntDir-v0").set_task(course)
    with pytest.raises(ValueError, match=message):
        make_vec("metarl/AntDir-v0").set_task([None, course, None])
    with pytest.raises(ValueError, match=message):
        make_vec("metarl/AntDir-v0").set_task(course)


def test_each_simulation_switches_by_its_own_clock():
    env = make_vec("metarl/AntDir-v0", 2, autoreset_mode="Disabled", lifetime=Switch(every=4))
    env.reset(seed=0)
    changed = []
    for number, action in enumerate(actions_for(env, 9)):
        if number == 2:
            env.reset(options={"reset_mask": np.array([False, True])})
        changed.append(env.step(action)[4]["task_changed"].tolist())
    assert [number for number, each in enumerate(changed) if each[0]] == [4, 8]
    assert [number for number, each in enumerate(changed) if each[1]] == [6]
