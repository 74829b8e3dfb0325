"""Lifetimes: how episodes follow them, the same on both faces."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from metarl.envs.lifetimes import Drift, Redraw, Switch
from metarl.envs.sb3 import as_sb3
from tests.envs.lived import SEED, actions_for, assert_same, life, make, make_vec, place, play

KEYS = ("lifetime", "episode_index", "task_id", "lifetime_end", "task_changed")
# A world and a schedule of each kind; episodes of 5 steps.
CASES = [
    ("metarl/HexapodLegFailure-v0", {"schedule": "leg-failure", "episodes": 3}),
    ("metarl/CheetahVel-v0", {"schedule": "drift", "episodes": 3}),
    ("metarl/HopperParams-v0", {"schedule": "drift", "episodes": 2}),
    ("metarl/WalkerParams-v0", {"schedule": "switch", "every": 2, "per_episode": 2, "episodes": 2}),
    ("metarl/AntGoal-v0", {"schedule": "drift", "episodes": 2}),
    ("metarl/AntDir-v0", {"schedule": "switch", "every": 3, "per_episode": 2, "episodes": 1}),
    ("metarl/PointNavigation-v0", {"schedule": "redraw", "episodes": 3}),
]


def test_trace():
    env = make("metarl/CheetahVel-v0", horizon=3, lifetime=Drift(3))
    infos = life(env, 8, seed=SEED)
    assert [place(info) for info in infos] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    velocity = [info["task"]["velocity"] for info in infos]
    assert velocity[1] == pytest.approx((velocity[0] + velocity[2]) / 2)
    assert velocity[4] == pytest.approx((velocity[3] + velocity[5]) / 2)
    assert len(set(velocity)) == 8
    assert [info["task_changed"] for info in infos] == [False] + [True] * 7
    assert all(env.tasks.contains(infos[k]["task"], "train") for k in (0, 2, 3, 5, 6))


def test_the_first_episodes_are_of_the_seed():
    """Lifetimes are the same as if they alone were drawn: from child k of the seed."""
    env = make("metarl/CheetahVel-v0", horizon=1, lifetime=Drift(2))
    infos = life(env, 6, seed=5)
    for k in range(3):
        rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(k,)))
        assert [info["task"] for info in infos[2 * k : 2 * k + 2]] == Drift(2).draw(env.tasks, "train", rng)


@pytest.mark.parametrize(("world", "lifetime"), CASES)
def test_tasks_depend_on_the_seed_alone(world, lifetime):
    env, twin = (make(world, horizon=5, lifetime=lifetime) for _ in range(2))
    env.action_space.seed(1), twin.action_space.seed(2)
    tasks = [info["task"] for info in life(env, 7, seed=SEED)]
    # Another policy, and episodes that are broken off, change nothing.
    other = [twin.reset(seed=SEED)[1]["task"]]
    for number in range(6):
        if number % 2:
            play(twin)
        else:
            twin.step(twin.action_space.sample())
        other.append(twin.reset()[1]["task"])
    assert tasks == other
    assert tasks != [info["task"] for info in life(env, 7, seed=SEED + 1)]


def test_starts_are_those_of_pinned_tasks():
    """The initial state comes from another generator than the tasks."""
    one, two = (make("metarl/HexapodLegFailure-v0", horizon=2) for _ in range(2))
    task = {"legs": [1, 4], "torque": 0.3}
    first, second = one.reset(seed=4), two.reset(seed=4, options={"task": task})
    assert second[1]["task"] == task != first[1]["task"]
    for _ in range(9):
        np.testing.assert_array_equal(first[0], second[0])
        first, second = one.reset(), two.reset()


def test_lifetime_end_on_the_last_step_of_the_last_episode():
    env = make("metarl/HopperParams-v0", horizon=4, lifetime=Drift(2))
    env.reset(seed=0)
    ends = []
    for _ in range(4):
        ends.append([info["lifetime_end"] for info in play(env, np.zeros(3))])
        assert env.reset()[1]["lifetime_end"] is False
    assert ends == [[False] * 4, [False] * 3 + [True]] * 2


def test_lifetime_end_where_the_body_falls():
    env = make("metarl/HopperParams-v0", lifetime=Redraw(1))
    env.reset(seed=0)
    infos = play(env, np.array([1.0, 1.0, -1.0]))
    assert 1 < len(infos) < env.horizon  # fell
    assert [info["lifetime_end"] for info in infos] == [False] * (len(infos) - 1) + [True]


def test_new_lifetime():
    env = make("metarl/CheetahVel-v0", horizon=2, lifetime=Drift(3))
    full = [info["task"] for info in life(env, 9, seed=3)]
    assert place(env.reset(seed=3, options={"new_lifetime": True})[1]) == (0, 0)  # nothing there to leave
    env.reset()
    _, info = env.reset(options={"new_lifetime": True})
    assert (place(info), info["task"]) == ((1, 0), full[3])
    _, info = env.reset(options={"new_lifetime": False})
    assert (place(info), info["task"]) == ((1, 1), full[4])
    assert place(env.reset()[1]) == (1, 2)
    _, info = env.reset(options={"new_lifetime": True})  # no lifetime is left out after a last episode
    assert (place(info), info["task"]) == ((2, 0), full[6])
    with pytest.raises(ValueError, match="new_lifetime"):
        env.reset(options={"new_lifetime": "yes"})


def test_a_seed_goes_on_with_the_lifetime_where_it_shall_not_restart():
    arguments = {"horizon": 2, "lifetime": Drift(3)}
    env = make("metarl/CheetahVel-v0", **arguments, restart_on_seed=False)
    other = make("metarl/CheetahVel-v0", **arguments)
    full = [info["task"] for info in life(other, 9, seed=3)]
    for number in range(7):
        observation, info = env.reset(seed=3 + number)
        assert (place(info), info["task"]) == (divmod(number, 3), full[number])
        assert info["task_changed"] is (number > 0)
        np.testing.assert_array_equal(observation, other.reset(seed=3 + number)[0])  # starts are the seed's
    _, info = env.reset(seed=99, options={"new_lifetime": True})
    assert (place(info), info["task"]) == ((3, 0), life(other, 10, seed=3)[9]["task"])
    twin = pickle.loads(pickle.dumps(env))
    assert place(twin.reset(seed=0)[1]) == place(env.reset(seed=0)[1]) == (3, 1)


def test_lifetimes_that_go_on_follow_the_seed_that_began_them():
    env = make("metarl/CheetahVel-v0", lifetime=Drift(3), restart_on_seed=False)
    expected = make("metarl/CheetahVel-v0", lifetime=Drift(3)).reset(seed=7)[1]["task"]
    pickle.dumps(env)  # looks at the generator before there is a seed
    env.reset(seed=5, options={"task": {"velocity": 1.25}})
    env.set_task(None)
    _, info = env.reset(seed=7)
    assert (place(info), info["task"], info["task_changed"]) == ((0, 0), expected, True)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize(("world", "lifetime"), CASES)
def test_faces_agree_where_a_seed_goes_on(world, lifetime, mode):
    arguments = {"horizon": 5, "lifetime": lifetime, "restart_on_seed": False}
    ours = make_vec(world, autoreset_mode=mode, **arguments)
    theirs = SyncVectorEnv([lambda: gymnasium.make(world, **arguments)] * 3, autoreset_mode=mode)
    for seed in (SEED, SEED + 5, [4, None, 4], SEED):
        assert_same(ours.reset(seed=seed), theirs.reset(seed=seed))
        for number, action in enumerate(actions_for(ours, 7)):
            assert_same(ours.step(action), theirs.step(action), f"step {number}")
    assert ours.reset(seed=SEED)[1]["lifetime"].min() >= 1  # by default 0


@pytest.mark.parametrize("face", [make, make_vec])
def test_what_cannot_go_on_says_so(face):
    with pytest.raises(ValueError, match="this world has none"):
        face("metarl/CheetahVel-v0", restart_on_seed=False)
    with pytest.raises(ValueError, match="must be True or False, got 'no'"):
        face("metarl/CheetahVel-v0", lifetime="drift", restart_on_seed="no")
    with pytest.raises(ValueError, match="did you mean 'restart_on_seed'"):
        face("metarl/CheetahVel-v0", lifetime="drift", restart_on_sed=False)


def test_new_lifetime_of_some():
    env = make_vec("metarl/CheetahVel-v0", lifetime=Drift(3))
    env.reset(seed=3)
    info = env.reset(options={"new_lifetime": np.array([False, True, False])})[1]
    assert (list(info["lifetime"]), list(info["episode_index"])) == ([0, 1, 0], [1, 0, 1])
    mask = np.array([True, True, False])
    info = env.reset(options={"new_lifetime": True, "reset_mask": mask})[1]
    assert list(info["_lifetime"]) == list(mask)
    assert (list(info["lifetime"]), list(info["episode_index"])) == ([1, 2, 0], [0, 0, 0])
    info = env.reset()[1]
    assert (list(info["lifetime"]), list(info["episode_index"])) == ([1, 2, 0], [1, 1, 2])


def test_a_pinned_task_is_no_part_of_a_lifetime():
    env = make("metarl/CheetahVel-v0", horizon=2, lifetime=Drift(3))
    full = [info["task"] for info in life(env, 4, seed=3)]
    env.reset(seed=3)
    for options in ({"task": {"velocity": 1.25}}, None):  # stays pinned
        _, info = env.reset(options=options)
        assert (place(info), info["task"]) == ((-1, -1), {"velocity": 1.25})
        infos = play(env)
        assert [place(info) for info in infos] == [(-1, -1)] * 2
        assert not any(info["lifetime_end"] for info in infos)
    env.set_task(None)
    _, info = env.reset()
    assert (place(info), info["task"]) == ((0, 1), full[1])


def test_task_changed_at_resets():
    env = make("metarl/CheetahVel-v0", lifetime=Redraw(2))
    task = {"velocity": 1.25}
    resets = [{"seed": 0}, {}, {"seed": 0}, {"options": {"task": task}}, {}, {"seed": 1}]
    assert [env.reset(**each)[1]["task_changed"] for each in resets] == [
        False,
        True,
        False,
        True,
        False,
        False,
    ]


def test_a_new_lifetime_waits_for_pinned_tasks_in_copies_too():
    env = make("metarl/CheetahVel-v0", lifetime=Redraw(5))
    env.reset(seed=0), env.reset()
    env.reset(options={"task": {"velocity": 1.25}, "new_lifetime": True})
    env.set_task(None)
    twin = pickle.loads(pickle.dumps(env))
    for each in (env, twin):
        assert place(each.reset()[1]) == (1, 0)


def test_some_pinned_beside_others():
    env = make_vec("metarl/CheetahVel-v0", horizon=2, lifetime=Drift(3))
    task = {"velocity": 2.0}
    info = env.reset(seed=0, options={"tasks": [None, task, None]})[1]
    assert list(info["lifetime"]) == [0, -1, 0]
    for action in actions_for(env, 4):
        info = env.step(action)[4]
    assert list(info["lifetime"]) == [0, -1, 0]
    assert list(info["episode_index"]) == [2, -1, 2]
    assert env.get_task()[1] == task != env.get_task()[0]


# Both faces


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
@pytest.mark.parametrize(("world", "lifetime"), CASES)
def test_vector_face_equals_sync_vector_env(world, lifetime, mode):
    ours = make_vec(world, horizon=5, autoreset_mode=mode, lifetime=lifetime)
    theirs = SyncVectorEnv(
        [lambda: gymnasium.make(world, horizon=5, lifetime=lifetime)] * 3, autoreset_mode=mode
    )
    assert_same(ours.reset(seed=SEED), theirs.reset(seed=SEED))
    lifetimes = set()
    for number, action in enumerate(actions_for(ours, 33)):
        step = ours.step(action)
        assert_same(step, theirs.step(action), f"step {number}")
        lifetimes |= set(step[4]["lifetime"].tolist())
    assert {0, 1} <= lifetimes
    assert_same(ours.reset(options={"new_lifetime": True}), theirs.reset(options={"new_lifetime": True}))
    task = ours.sample_tasks(1, "test", 0)[0]
    assert_same(ours.reset(options={"task": task}), theirs.reset(options={"task": task}))
    assert_same(ours.step(action), theirs.step(action))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_faces_agree_where_simulations_end_at_different_times(mode):
    arguments = {"horizon": 60, "lifetime": Switch(every=7, per_episode=2, episodes=2)}
    world = "metarl/HopperParams-v0"
    ours = make_vec(world, autoreset_mode=mode, **arguments)
    theirs = SyncVectorEnv([lambda: gymnasium.make(world, **arguments)] * 3, autoreset_mode=mode)
    assert_same(ours.reset(seed=SEED), theirs.reset(seed=SEED))
    numbers = set()
    for number, action in enumerate(actions_for(ours, 120)):
        step = ours.step(action)
        assert_same(step, theirs.step(action), f"step {number}")
        numbers.add(int((step[2] | step[3]).sum()))
    assert {0, 1} <= numbers  # ended one at a time
    assert step[4]["lifetime"].max() > 0


@pytest.mark.parametrize(("world", "lifetime"), CASES)
def test_disabled_equals_the_scalar_face(world, lifetime):
    """Without autoreset each simulation lives as a scalar one does that is reset where it ends."""
    env = make_vec(world, 2, horizon=5, autoreset_mode="Disabled", lifetime=lifetime)
    alone = [make(world, horizon=5, lifetime=lifetime) for _ in range(2)]
    obs, info = env.reset(seed=SEED)
    for index, each in enumerate(alone):
        assert_same(each.reset(seed=SEED + index)[0], obs[index])
    for action in actions_for(env, 22):
        obs, reward, terminated, truncated, info = env.step(action)
        going = info["_lifetime"]
        for index in np.flatnonzero(going):
            mine = alone[index].step(action[index])
            np.testing.assert_array_equal(mine[0], obs[index])
            assert mine[1:4] == (reward[index], terminated[index], truncated[index])
            assert {key: mine[4][key] for key in KEYS} == {key: info[key][index] for key in KEYS}
        finished = terminated | truncated
        if finished.all():
            obs, info = env.reset(options={"reset_mask": finished})
            for index, each in enumerate(alone):
                first, other = each.reset()
                np.testing.assert_array_equal(first, obs[index])
                assert {key: other[key] for key in KEYS} == {key: info[key][index] for key in KEYS}
                assert env.get_task()[index] == other["task"]
    assert env.reset()[1]["lifetime"].max() >= 1


@pytest.mark.parametrize(("world", "lifetime"), CASES)
def test_copies_live_on_exactly(world, lifetime):
    for env in (make(world, horizon=5, lifetime=lifetime), make_vec(world, horizon=5, lifetime=lifetime)):
        env.reset(seed=SEED), env.reset(), env.reset()
        actions = actions_for(env, 12)
        for action in actions[:3]:
            env.step(action)
        twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
        state = env.get_state()
        after = [env.step(actions[3]), env.step(actions[4]), *(env.reset() for _ in range(7))]
        env.set_state(state)
        for each in (env, *twins):
            again = [each.step(actions[3]), each.step(actions[4]), *(each.reset() for _ in range(7))]
            for one, other in zip(after, again, strict=True):
                assert_same(one, other)


@pytest.mark.parametrize("face", [make, make_vec])
def test_copies_before_the_first_reset_live_the_same(face):
    env = face("metarl/CheetahVel-v0", lifetime="redraw")
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(12):
        assert_same(env.reset(), twin.reset())


def test_states_with_and_without_lifetimes_do_not_mix():
    env, without = make("metarl/CheetahVel-v0", lifetime="drift"), make("metarl/CheetahVel-v0")
    env.reset(seed=0), without.reset(seed=0)
    with pytest.raises(ValueError, match="lifetime="):
        env.set_state(without.get_state())
    with pytest.raises(ValueError, match="lifetime="):
        without.set_state(env.get_state())
    shorter = make("metarl/CheetahVel-v0", lifetime={"schedule": "drift", "episodes": 3})
    with pytest.raises(ValueError, match=r"by Drift\(episodes=10\), but these are by Drift\(episodes=3\)"):
        shorter.set_state(env.get_state())


@pytest.mark.parametrize(("world", "lifetime"), CASES)
@pytest.mark.filterwarnings("error", "ignore:.*Box observation space (minimum|maximum) value is.*")
def test_official_checks(world, lifetime):
    check_env(make(world, lifetime=lifetime), skip_render_check=True)


@pytest.mark.parametrize(("world", "lifetime"), CASES)
def test_check_for_sb3_where_a_seed_goes_on(world, lifetime):
    check_for_sb3(make(world, lifetime=lifetime, restart_on_seed=False), skip_render_check=True)


@pytest.mark.parametrize(("world", "lifetime"), CASES)
@pytest.mark.filterwarnings("error:.*(python|type|dtype).*")
def test_check_for_sb3(world, lifetime):
    check_for_sb3(make(world, lifetime=lifetime), skip_render_check=True)


def test_stable_baselines_sees_lifetimes():
    env = as_sb3("metarl/CheetahVel-v0", 2, horizon=2, lifetime=Drift(2))
    env.seed(0)
    env.reset()
    ends, places = [], []
    for _ in range(8):
        done, infos = env.step(np.zeros((2, 6), np.float32))[2:]
        ends.append(infos[0]["lifetime_end"])
        if done[0]:
            places.append((place(infos[0]), place(env.reset_infos[0])))
    assert ends == [False, False, False, True] * 2
    assert places == [((0, 0), (0, 1)), ((0, 1), (1, 0)), ((1, 0), (1, 1)), ((1, 1), (2, 0))]
    env.set_options({"new_lifetime": True})
    env.reset()
    assert [place(info) for info in env.reset_infos] == [(3, 0)] * 2
