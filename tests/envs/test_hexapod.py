"""The hexapod whose legs fail: body, reward, pairs of legs and their torque, by hand and beside MuJoCo itself."""

import math
import warnings
from itertools import combinations

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from metarl.envs.hexapod import HexapodLegFailure
from metarl.envs.lifetimes import LegFailure

WORLD = "metarl/HexapodLegFailure-v0"
# From the torso's centre to the hips, m: what makes (1, 2) the back pair, (3, 4) the middle and (5, 6) the front one,
# since by default it runs towards -y.
HIPS = {
    1: (0.18, 0.215),
    2: (-0.18, 0.215),
    3: (-0.20, 0.0),
    4: (0.20, 0.0),
    5: (-0.18, -0.215),
    6: (0.18, -0.215),
}


def make(**arguments):
    return gymnasium.make(WORLD, **arguments).unwrapped


def make_vec(num, **arguments):
    env = gymnasium.make_vec(WORLD, num_envs=num, vectorization_mode="vector_entry_point", **arguments)
    return env.unwrapped


def capsule(length, radius=0.08, density=10.0):
    """Mass in kg."""
    return density * math.pi * radius**2 * (length + 4 / 3 * radius)


def test_sizes():
    env = make()
    model = env.world.simulation.model
    assert (env.observation_space.shape, env.action_space.shape) == ((37,), (12,))
    assert (model.nq, model.nv, model.nu) == (19, 18, 12)
    assert (env.horizon, env.world.dt) == (500, pytest.approx(0.05))
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(
        obs, np.concatenate([env.world.simulation.qpos[0], env.world.simulation.qvel[0]])
    )


def test_masses_by_hand():
    model = make().world.simulation.model
    corner, middle = (
        [capsule(math.hypot(*part)) for part in parts]
        for parts in (((0.18, 0.215), (0.18, 0.215), (0.324, 0.387)), ((0.2, 0), (0.275, 0), (0.55, 0)))
    )
    sphere = 10 * 4 / 3 * math.pi * 0.25**3
    assert model.body("torso").mass[0] == pytest.approx(sphere + 4 * corner[0] + 2 * middle[0])
    for leg in range(1, 7):
        _, thigh, shank = middle if leg in (3, 4) else corner
        assert model.body(f"thigh_{leg}").mass[0] == pytest.approx(thigh)
        assert model.body(f"shank_{leg}").mass[0] == pytest.approx(shank)
    assert model.body_mass.sum() == pytest.approx(2.3096609384709774, rel=1e-12)


def test_joints_and_motors_are_in_the_order_of_the_legs():
    model = make().world.simulation.model
    names = [f"{joint}_{leg}" for leg in range(1, 7) for joint in ("hip", "ankle")]
    assert [model.actuator(index).name for index in range(12)] == names
    assert [model.joint(index + 1).name for index in range(12)] == names
    assert [model.joint(model.actuator_trnid[index, 0]).name for index in range(12)] == names
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 150)
    np.testing.assert_allclose(np.degrees(model.jnt_range[1::2]), np.tile([-30, 30], (6, 1)))
    np.testing.assert_allclose(np.degrees(model.jnt_range[2::2]), np.tile([30, 70], (6, 1)))
    for leg, place in HIPS.items():
        np.testing.assert_allclose(model.body(f"thigh_{leg}").pos, (*place, 0), atol=1e-12)


def test_left_and_right_mirror_each_other():
    """Legs 2, 3, 5 are the mirror images of 1, 4, 6: from the keyframe, equal torques keep the body's course straight."""
    env = make(noise=0.0)
    env.reset(seed=0, options={"task": {"legs": [1, 2], "torque": 1.0}})
    action = np.zeros(12)
    for left, right, hip in ((1, 2, 0.7), (4, 3, -0.5), (6, 5, 0.4)):
        action[2 * (left - 1)], action[2 * (right - 1)] = hip, -hip
        action[2 * left - 1] = action[2 * right - 1] = 0.3 * hip
    for _ in range(10):
        obs = env.step(action)[0]
    assert abs(obs[1]) > 1e-2  # it moved along y
    assert np.abs(obs[[0, 5, 6]]).max() < 1e-9  # not along x, and did not turn about y or z


def test_pairs_and_their_split():
    tasks = make().tasks
    train, test, every = (
        [tuple(task["legs"]) for task in tasks.enumerate(split)] for split in ("train", "test", "all")
    )
    assert (len(train), len(test), len(every)) == (12, 3, 15)
    assert set(every) == set(combinations(range(1, 7), 2)) == set(train) | set(test)
    assert tasks.disjoint
    # Back, middle and front: the three pairs whose hips mirror each other.
    mirrored = {pair for pair in every if HIPS[pair[0]] == (-HIPS[pair[1]][0], HIPS[pair[1]][1])}
    assert set(test) == mirrored == {(1, 2), (3, 4), (5, 6)}
    places = {tasks.name({"legs": list(pair), "torque": 1.0}): HIPS[pair[0]][1] for pair in test}
    assert sorted(places, key=places.get, reverse=True) == ["back", "middle", "front"]


def test_draws_are_of_their_split():
    tasks = make().tasks
    for split, other, number in (("train", "test", 12), ("test", "train", 3)):
        drawn = tasks.sample(400, split, 1)
        assert all(tasks.contains(task, split) and not tasks.contains(task, other) for task in drawn)
        assert len({tuple(task["legs"]) for task in drawn}) == number
        torque = np.array([task["torque"] for task in drawn])
        assert 0 <= torque.min() < 0.02
        assert 0.98 < torque.max() <= 1
    assert tasks.check({"legs": (4.0, 2), "torque": 1}) == {"legs": [2, 4], "torque": 1.0}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"legs": [1, 1], "torque": 1.0}, "two different legs"),
        ({"legs": [0, 3], "torque": 1.0}, "two different legs"),
        ({"legs": [1, 2, 3], "torque": 1.0}, r"legs'\] must be finite numbers of shape \(2,\)"),
        ({"legs": [None, 1], "torque": 1.0}, r"legs'\] must be"),
        ({"legs": [1, 2], "torque": "full"}, r"torque'\] must be numbers"),
        ({"legs": [1, 2], "torque": 1.5}, r"torque'\] must be in \[0, 1\]"),
        ({"legs": [1, 2], "torque": math.nan}, r"torque'\] must be finite"),
        ({"legs": [1, 2]}, "legs.*torque"),
    ],
)
def test_malformed_tasks_are_refused(task, message):
    with pytest.raises(ValueError, match=message):
        make().set_task(task)


@pytest.mark.parametrize("integrator", ["implicitfast", "rk4"])
@pytest.mark.parametrize(("legs", "torque"), [([2, 5], 0.5), ([1, 2], 0.0), ([3, 6], 1.0)])
def test_torque_scales_the_controls_of_that_pair_only(legs, torque, integrator):
    """Beside a loop of mj_step that multiplies the four controls itself."""
    env = make(integrator=integrator)
    env.reset(seed=3, options={"task": {"legs": legs, "torque": torque}})
    model, data = env.world.simulation.model, mujoco.MjData(env.world.simulation.model)
    data.qpos[:], data.qvel[:] = env.world.simulation.qpos[0], env.world.simulation.qvel[0]
    share = np.ones(12)
    for leg in legs:
        for joint in ("hip", "ankle"):
            share[mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_ACTUATOR, f"{joint}_{leg}")] = torque
    assert (share != 1).sum() == (0 if torque == 1 else 4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1.5, 1.5, 12).astype(np.float32)
        obs, *_ = env.step(action)
        data.ctrl[:] = np.clip(action.astype(np.float64), -1, 1) * share
        for _ in range(5):
            mujoco.mj_step(model, data)
        np.testing.assert_array_equal(obs, np.concatenate([data.qpos, data.qvel]))


def test_a_dead_pair_does_not_answer():
    env = make()
    task = {"legs": [1, 6], "torque": 0.0}
    rows = []
    for value in (-1.0, 1.0):
        action = np.full(12, 0.3)
        action[[0, 1, 10, 11]] = value
        env.reset(seed=5, options={"task": task})
        rows.append(np.stack([env.step(action)[0] for _ in range(5)]))
    np.testing.assert_array_equal(*rows)
    env.reset(seed=5, options={"task": {**task, "torque": 1 / 6}})
    assert np.abs(env.step(action)[0] - rows[1][0]).max() > 1e-3


@pytest.mark.parametrize("heading", [-math.pi / 2, 0.0, 2.0])
def test_reward_by_hand(heading):
    env = make(heading=heading, control_cost=0.2)
    first, _ = env.reset(seed=1, options={"task": {"legs": [1, 2], "torque": 0.0}})
    action = np.full(12, 0.5)
    action[:2] = -3.0, 1.0  # clipped to -1; a dead leg's effort counts as well
    obs, reward, terminated, truncated, info = env.step(action)
    dx, dy = (obs - first)[:2]
    speed = (dx * math.cos(heading) + dy * math.sin(heading)) / 0.05
    assert info["forward_velocity"] == info["reward_forward"] == pytest.approx(speed, abs=1e-12)
    assert abs(speed) > 1e-3
    assert info["reward_control"] == pytest.approx(-0.2 * (1 + 1 + 10 * 0.25))
    assert reward == pytest.approx(speed - 0.2 * 4.5)
    assert (terminated, truncated) == (False, False)


def test_default_heading_is_where_the_front_legs_are():
    env = make()
    first, _ = env.reset(seed=1)
    obs, *_, info = env.step(np.ones(12))
    assert info["reward_forward"] == pytest.approx(-(obs[1] - first[1]) / 0.05, abs=1e-12)


def test_default_schedule_on_both_faces():
    env, many = make(horizon=2), make_vec(3, horizon=2)
    assert env.world.lifetime == many.world.lifetime == HexapodLegFailure.lifetime == LegFailure(7)
    assert env.enumerate_lifetimes("test") == many.enumerate_lifetimes("test")
    assert env.sample_lifetimes(9, "train", 4) == many.sample_lifetimes(9, "train", 4)
    env.reset(seed=8)
    many.reset(seed=8)
    met, torque = [], []
    for _ in range(9):
        task = env.get_task()
        assert task == many.get_task()[0]
        met.append(tuple(task["legs"]))
        torque.append(task["torque"])
        for _ in range(2):
            action = np.full((3, 12), 0.3)
            one, other = env.step(action[0]), many.step(action)
            assert one[1] == other[1][0]
        env.reset()
    assert torque == [1, 5 / 6, 2 / 3, 1 / 2, 1 / 3, 1 / 6, 0, 1, 5 / 6]
    assert len(set(met[:7])) == 1
    assert all(env.tasks.contains({"legs": list(pair), "torque": 1.0}, "train") for pair in met)


def test_lifetimes_are_those_of_the_seed():
    runs = []
    for seed in (8, 8, 9, 10, 11):
        env = make(horizon=1)
        env.reset(seed=seed)
        for _ in range(20):
            env.step(env.action_space.sample())
            env.reset()
        runs.append([env.reset(options={"new_lifetime": True})[1]["task"]["legs"] for _ in range(5)])
    assert runs[0] == runs[1]
    assert len({str(run) for run in runs}) > 2


def test_official_checks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is.*")
        check_env(make(), skip_render_check=True)
    check_for_sb3(make(), skip_render_check=True)


def test_stays_sound_under_any_actions():
    env = make_vec(8, autoreset_mode="Disabled")
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(500):
        obs, reward, terminated, truncated, _ = env.step(rng.choice([-1.0, 1.0], (8, 12)))
    assert np.isfinite(obs).all()
    assert np.isfinite(reward).all()
    assert not terminated.any()
    assert truncated.all()
    assert env.num_diverged == 0
