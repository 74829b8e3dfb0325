"""The two faces of a world agree bit for bit, with each other and with Gymnasium's own vector environment."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.envs import WORLDS
from tests.envs.lived import assert_same

# Of the pairings of sumo, which are one world, one stands for all here.
IDS = [name for name in sorted(WORLDS) if "Sumo" not in name or "Ant-vs-Bug" in name]
NUM, SEED = 3, 11


def make_vec(world, num=NUM, **arguments):
    return gymnasium.make_vec(world, num_envs=num, vectorization_mode="vector_entry_point", **arguments)


def make_sync(world, mode, num=NUM, **arguments):
    return SyncVectorEnv([lambda: gymnasium.make(world, **arguments)] * num, autoreset_mode=mode)


def actions_for(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.3, 1.3, (steps, *env.action_space.shape)).astype(np.float32)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize("world", IDS)
def test_vector_face_equals_sync_vector_env(world, mode):
    ours, theirs = make_vec(world, horizon=7, autoreset_mode=mode), make_sync(world, mode, horizon=7)
    assert ours.metadata["autoreset_mode"] == mode
    assert_same(ours.reset(seed=SEED), theirs.reset(seed=SEED))
    for number, action in enumerate(actions_for(ours, 20)):
        assert_same(ours.step(action), theirs.step(action), f"step {number}")
    # Generators are in the same state too: one more draw of a task and a start agrees.
    assert_same(ours.reset(), theirs.reset())
    ours.close(), theirs.close()


@pytest.mark.parametrize("world", IDS)
def test_rows_do_not_depend_on_their_number(world):
    many, few = make_vec(world, 33, horizon=9), make_vec(world, 5, horizon=9)
    first, _ = many.reset(seed=SEED)
    np.testing.assert_array_equal(first[:5], few.reset(seed=SEED)[0])
    for action in actions_for(many, 12):
        np.testing.assert_array_equal(many.step(action)[0][:5], few.step(action[:5])[0])


@pytest.mark.parametrize("world", IDS)
def test_threads_change_nothing(world):
    one, two = make_vec(world, 8, num_threads=1), make_vec(world, 8, num_threads=2)
    assert_same(one.reset(seed=SEED), two.reset(seed=SEED))
    for action in actions_for(one, 10):
        assert_same(one.step(action), two.step(action))


@pytest.mark.parametrize("world", IDS)
def test_disabled_freezes_what_has_finished(world):
    env, alone = make_vec(world, horizon=5, autoreset_mode="Disabled"), make_vec(world, horizon=5)
    env.reset(seed=SEED)
    actions = actions_for(env, 12)
    for action in actions[:2]:
        env.step(action)
    mask = np.array([False, True, False])
    _, info = env.reset(options={"reset_mask": mask})
    assert list(info["_task"]) == [False, True, False]
    for action in actions[2:5]:
        obs, reward, terminated, truncated, _ = env.step(action)
    finished = terminated | truncated
    assert finished[0]
    assert finished[2]
    later, reward, still_terminated, still_truncated, info = env.step(actions[5])
    np.testing.assert_array_equal(later[finished], obs[finished])
    np.testing.assert_array_equal(reward[finished], 0)
    np.testing.assert_array_equal(still_terminated[finished], terminated[finished])
    np.testing.assert_array_equal(still_truncated[finished], truncated[finished])
    np.testing.assert_array_equal(info["_diverged"], ~finished)
    if not finished[1]:
        assert (later[1] != obs[1]).any()
    env.reset(options={"reset_mask": finished})
    assert not env.step(actions[6])[3][finished].any()
    alone.close()


def test_frozen_simulations_do_not_disturb_the_others():
    env, twin = (make_vec("metarl/CheetahVel-v0", 2, horizon=8, autoreset_mode="Disabled") for _ in range(2))
    for each in (env, twin):
        each.reset(seed=SEED)
    actions = actions_for(env, 12)
    for action in actions[:3]:
        env.step(action), twin.step(action)
    env.reset(seed=[None, 5], options={"reset_mask": np.array([False, True])})
    for action in actions[3:8]:
        obs, other = env.step(action)[0], twin.step(action)[0]
        np.testing.assert_array_equal(obs[0], other[0])
    clock = env.unwrapped.world.simulation.bind("time")
    frozen = clock[0]
    last = [env.step(action) for action in actions[8:11]]
    assert clock[0] == frozen
    assert clock[1] == pytest.approx(8 * 0.05)
    np.testing.assert_array_equal(last[-1][0][0], obs[0])
    assert [list(step[3]) for step in last] == [[True, False], [True, False], [True, True]]


@pytest.mark.parametrize("world", IDS)
def test_scalar_steps_to_the_horizon_and_then_asks_for_a_reset(world):
    env = gymnasium.make(world, horizon=3).unwrapped
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())
    env.reset(seed=1)
    assert [env.step(np.zeros(env.action_space.shape))[3] for _ in range(3)] == [False, False, True]
    with pytest.raises(ResetNeeded, match="ended"):
        env.step(np.zeros(env.action_space.shape))


@pytest.mark.parametrize("world", IDS)
def test_task_takes_effect_at_the_next_reset(world):
    env = gymnasium.make(world).unwrapped
    with pytest.raises(ResetNeeded):
        env.get_task()
    env.reset(seed=1)
    task = env.sample_tasks(1, "test", 3)[0]
    env.set_task(task)
    with pytest.raises(ResetNeeded, match="set_task"):
        env.step(env.action_space.sample())
    _, info = env.reset()
    assert info["task"] == task == env.get_task()
    assert env.reset()[1]["task"] == task
    env.set_task(None)
    assert env.tasks.contains(env.reset()[1]["task"], "train")


@pytest.mark.parametrize("world", IDS)
def test_vector_tasks(world):
    env = make_vec(world).unwrapped
    tasks = env.sample_tasks(NUM, "train", 4)
    env.set_task(tasks)
    with pytest.raises(ResetNeeded):
        env.step(actions_for(env, 1)[0])
    env.reset(seed=0)
    assert env.get_task() == tasks
    env.reset(options={"task": tasks[0]})
    assert env.get_task() == [tasks[0]] * NUM
    env.reset(options={"tasks": tasks[::-1]})
    assert env.get_task() == tasks[::-1]
    with pytest.raises(ValueError, match="expected"):
        env.set_task(tasks[:2])
    with pytest.raises(ValueError, match=r"key.*nonsense"):
        env.set_task({"nonsense": 1.0})


@pytest.mark.parametrize("world", IDS)
def test_task_in_options_equals_set_task(world):
    one, two = make_vec(world), gymnasium.make(world).unwrapped
    task = one.unwrapped.sample_tasks(1, "all", 9)[0]
    first, _ = one.reset(seed=SEED, options={"task": task})
    two.set_task(task)
    np.testing.assert_array_equal(first[0], two.reset(seed=SEED)[0])
    action = actions_for(one, 1)[0]
    np.testing.assert_array_equal(one.step(action)[1][0], two.step(action[0])[1])


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("world", IDS)
def test_copies_go_on_exactly(world, copier):
    for env in (gymnasium.make(world, horizon=6).unwrapped, make_vec(world, horizon=6).unwrapped):
        env.reset(seed=SEED)
        actions = actions_for(env, 12)
        for action in actions[:4]:
            env.step(action)
        twin = copier(env)
        for action in actions[4:6]:
            assert_same(env.step(action), twin.step(action))
        assert_same(env.reset(), twin.reset())


@pytest.mark.parametrize("world", IDS)
def test_state_goes_back_exactly(world):
    env = make_vec(world, horizon=6).unwrapped
    env.reset(seed=SEED)
    actions = actions_for(env, 12)
    for action in actions[:3]:
        env.step(action)
    state = env.get_state()
    first = [env.step(action) for action in actions[3:]]
    env.set_state(state)
    for step, action in zip(first, actions[3:], strict=True):
        assert_same(step, env.step(action))
    with pytest.raises(ValueError, match="state of 3"):
        make_vec(world, 2).unwrapped.set_state(state)


def test_what_is_returned_belongs_to_the_caller():
    env, twin = (make_vec("metarl/CheetahDir-v0", autoreset_mode="Disabled", horizon=4) for _ in range(2))
    env.reset(seed=SEED), twin.reset(seed=SEED)
    for action in actions_for(env, 6):
        mine, other = env.step(action), twin.step(action)
        assert_same(mine[:4], other[:4])
        for array in mine[:4]:
            array[...] = 1


def test_seeds_as_a_list():
    env = make_vec("metarl/CheetahDir-v0").unwrapped
    rows = [gymnasium.make("metarl/CheetahDir-v0").unwrapped.reset(seed=seed)[0] for seed in (4, 9, 2)]
    np.testing.assert_array_equal(env.reset(seed=[4, 9, 2])[0], rows)
    assert env.np_random_seed == (4, 9, 2)
    np.testing.assert_array_equal(env.reset(seed=np.array([4, 9, 2]))[0], rows)
    with pytest.raises(ValueError, match="seed"):
        env.reset(seed=[1, 2])
    with pytest.raises(ValueError, match=r"expected one seed or 3, one for each simulation, got 1\.5"):
        env.reset(seed=1.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizn": 3}, "did you mean 'horizon'"),
        ({"render_mode": "rgb"}, "did you mean 'rgb_array'"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"num_threads": 0}, "num_threads must be at least 1"),
        ({"integrator": "rk5"}, "did you mean 'rk4'"),
        ({"width": 0}, "pixels"),
        ({"control_cost": "abc"}, "control_cost must be a finite number, got 'abc'"),
        ({"integrator": 3}, "integrator must be a word, got 3"),
        ({"num": 2.0}, "num_envs must be a whole number from 1, got 2.0"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_vec("metarl/CheetahDir-v0", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"healthy_height": 0.7}, "healthy_height must be two numbers, got 0.7"),
        ({"healthy_height": [0.7]}, r"healthy_height must be two numbers, got \[0.7\]"),
        ({"healthy_height": (2.0, 0.7)}, r"healthy_height must be \(low, high\) with low < high"),
        ({"healthy_pitch": -1.0}, "healthy_pitch must be above 0, got -1.0"),
        ({"vary": 3}, "vary must be a list of words, got 3"),
        ({"vary": "mass"}, "vary must be a list of words, got 'mass'"),
    ],
)
def test_lists_that_are_none_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gymnasium.make("metarl/HopperParams-v0", **arguments)


def test_the_fixed_test_tasks_are_not_the_callers_to_change():
    env = gymnasium.make("metarl/HopperParams-v0").unwrapped
    before = env.tasks.enumerate("test")
    for given in (env.sample_tasks(1, "test", 0)[0], env.tasks.enumerate("test")[0]):
        given["mass"][0] = 123.0
    assert env.tasks.enumerate("test") == before


def test_copies_know_the_seed():
    env = gymnasium.make("metarl/CheetahDir-v0").unwrapped
    env.reset(seed=7)
    assert pickle.loads(pickle.dumps(env)).np_random_seed == 7


@pytest.mark.parametrize("face", [gymnasium.make, make_vec])
def test_a_reset_that_is_refused_changes_nothing(face):
    env, twin = (face("metarl/CheetahVel-v0", lifetime="redraw").unwrapped for _ in range(2))
    for each in (env, twin):
        each.reset(seed=1), each.reset()
    for options in ({"task": {"velocty": 1.0}}, {"new_lifetime": "yes"}):
        with pytest.raises(ValueError, match=r"velocity|a bool"):
            env.reset(seed=5, options=options)
    assert_same(env.reset(), twin.reset())


def test_wrong_actions_are_named():
    env = make_vec("metarl/CheetahDir-v0")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected actions of shape \(3, 6\), got \(2, 6\)"):
        env.step(np.zeros((2, 6)))
    bad = np.zeros((3, 6))
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN in those of simulations \[1\]"):
        env.step(bad)
    for mask in (np.zeros(3, bool), np.ones(2, bool), np.ones(3)):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(options={"reset_mask": mask})


def test_unknown_id_names_the_nearest():
    with pytest.raises(gymnasium.error.NameNotFound, match="CheetahDir"):
        gymnasium.make("metarl/CheetahDirr-v0")
