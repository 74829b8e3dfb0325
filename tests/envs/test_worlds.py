"""Each world: its official check, and its rewards, ends and starts by numbers worked out by hand."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from metarl.envs import WORLDS

SPLITS = {
    "metarl/AntDir-v0": "2b1a2b1738bf",
    "metarl/AntGoal-v0": "8673655f8464",
    "metarl/CheetahDir-v0": "2b1a2b1738bf",
    "metarl/CheetahVel-v0": "0244506f6899",
    "metarl/HexapodLegFailure-v0": "987aca87c982",
    "metarl/HopperParams-v0": "e4c8e282fc05",
    "metarl/PointNavigation-v0": "afba152bc65c",
    "metarl/WalkerParams-v0": "af0c8763aea5",
}


def make(world, **arguments):
    return gymnasium.make(world, **arguments).unwrapped


def place(env, qpos=None, qvel=None):
    """Put a scalar environment's simulation where a test wants it."""
    if qpos is not None:
        env.world.simulation.qpos[0] = qpos
    if qvel is not None:
        env.world.simulation.qvel[0] = qvel


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_official_check(world):
    env = gymnasium.make(world).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is.*")
        check_env(env, skip_render_check=True)
    env.close(), env.close()


@pytest.mark.parametrize(
    ("world", "size", "actions", "horizon", "fps"),
    [
        ("PointNavigation", 2, 2, 100, 10),
        ("CheetahDir", 17, 6, 100, 20),
        ("CheetahVel", 17, 6, 200, 20),
        ("AntDir", 111, 8, 200, 20),
        ("AntGoal", 113, 8, 200, 20),
        ("HopperParams", 11, 3, 200, 125),
        ("WalkerParams", 17, 6, 200, 125),
        ("HexapodLegFailure", 37, 12, 500, 20),
    ],
)
def test_sizes(world, size, actions, horizon, fps):
    env = make(f"metarl/{world}-v0")
    assert env.observation_space.shape == (size,)
    assert env.observation_space.dtype == np.float64
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (actions,), np.float32)
    assert (env.horizon, env.metadata["render_fps"]) == (horizon, fps)


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_terms_add_up_to_the_reward(world):
    env = make(world)
    env.reset(seed=2)
    env.action_space.seed(0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    terms = [value for name, value in info.items() if name.startswith("reward_")]
    assert reward == pytest.approx(sum(terms), abs=1e-12)
    assert reward != 0


def test_point_by_hand():
    env = make("metarl/PointNavigation-v0")
    first, info = env.reset(options={"task": {"goal": [0.3, -0.2]}})
    assert info["task"] == {"goal": [0.3, -0.2]}
    np.testing.assert_array_equal(first, [0, 0])
    obs, reward, terminated, _, _ = env.step(np.array([0.5, -1.0]))
    np.testing.assert_allclose(obs, [0.05, -0.1])
    assert reward == pytest.approx(-np.hypot(0.25, 0.1))
    assert not terminated
    obs, *_ = env.step(np.array([7.0, 0.0]))  # clipped to a step of 0.1
    np.testing.assert_allclose(obs, [0.15, -0.1])
    env.step(np.array([1.0, -0.95]))
    _, reward, terminated, _, _ = env.step(np.array([0.45, 0.0]))  # 0.005 away from the goal along x and y
    assert reward == pytest.approx(-np.hypot(0.005, 0.005))
    assert terminated


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_cheetah_direction_by_hand(direction):
    env = make("metarl/CheetahDir-v0")
    first, _ = env.reset(seed=5, options={"task": {"direction": direction}})
    start = env.world.simulation.qpos[0, 0]
    action = np.array([1.0, -0.5, 0.25, 0.0, 2.0, -3.0])  # clipped: squares 1, .25, .0625, 0, 1, 1
    _, reward, _, _, info = env.step(action)
    speed = (env.world.simulation.qpos[0, 0] - start) / 0.05
    assert info["x_velocity"] == pytest.approx(speed)
    assert info["reward_control"] == pytest.approx(-0.05 * 3.3125)
    assert info["reward_forward"] == pytest.approx(direction * speed)
    assert reward == pytest.approx(direction * speed - 0.05 * 3.3125)
    assert first.shape == (17,)


def test_direction_is_not_observed():
    seen = []
    for direction in (1.0, -1.0):
        env = make("metarl/CheetahDir-v0")
        first, _ = env.reset(seed=5, options={"task": {"direction": direction}})
        seen.append([first, *(env.step(np.full(6, 0.3))[0] for _ in range(4))])
    np.testing.assert_array_equal(seen[0], seen[1])


def test_cheetah_speed_by_hand():
    env = make("metarl/CheetahVel-v0", control_cost=0.2)
    env.reset(seed=5, options={"task": {"velocity": 2.0}})
    start = env.world.simulation.qpos[0, 0]
    _, reward, _, _, info = env.step(np.full(6, 0.5))
    speed = (env.world.simulation.qpos[0, 0] - start) / 0.05
    assert info["reward_velocity"] == pytest.approx(-abs(speed - 2.0))
    assert reward == pytest.approx(-abs(speed - 2.0) - 0.2 * 6 * 0.25)


def test_ant_direction_by_hand():
    env = make("metarl/AntDir-v0")
    obs, _ = env.reset(seed=5, options={"task": {"direction": -1.0}})
    start = env.world.simulation.qpos[0, 0]
    for _ in range(8):  # fall onto the floor, so that there are contacts to pay for
        start = env.world.simulation.qpos[0, 0]
        obs, reward, terminated, _, info = env.step(np.full(8, 0.5))
    speed = (env.world.simulation.qpos[0, 0] - start) / 0.05
    contacts = obs[27:]
    assert np.abs(contacts).max() <= 1
    assert np.abs(contacts).sum() > 0
    np.testing.assert_array_equal(contacts[:6], 0)
    assert info["reward_contact"] == pytest.approx(-5e-4 * (contacts**2).sum())
    assert info["reward_contact"] < 0
    assert reward == pytest.approx(-speed - 0.5 * 8 * 0.25 + info["reward_contact"] + 1.0)
    assert not terminated


def test_contacts_are_none_in_the_air():
    env = make("metarl/AntDir-v0", healthy_height=(0, 10))
    env.reset(seed=5)
    lifted = env.world.simulation.qpos[0].copy()
    lifted[2] = 5.0
    place(env, lifted)
    obs, *_ = env.step(np.zeros(8))
    np.testing.assert_array_equal(obs[27:], 0)


@pytest.mark.parametrize(
    ("healthy", "height", "terminated"),
    [
        ((0.3, 1.0), 0.6, False),
        ((0.3, 1.0), 1.4, True),
        ((0.3, 1.0), 0.4, False),
        ((0.6, 1.0), 0.4, True),
        ((0.6, 1.0), 0.75, False),
    ],
)
def test_ant_ends_by_height(healthy, height, terminated):
    env = make("metarl/AntDir-v0", healthy_height=healthy)
    env.reset(seed=5)
    qpos = env.world.simulation.qpos[0].copy()
    qpos[2] = height
    place(env, qpos, np.zeros(14))
    assert env.step(np.zeros(8))[2] == terminated


def test_ant_time_step():
    fine = make("metarl/AntGoal-v0", time_step=0.005, frame_skip=10)
    assert fine.world.simulation.model.opt.timestep == 0.005
    assert fine.world.dt == pytest.approx(0.05)
    with pytest.raises(ValueError, match="time_step must be positive"):
        make("metarl/AntGoal-v0", time_step=0)


def test_ant_goal_by_hand():
    env = make("metarl/AntGoal-v0")
    env.reset(seed=5, options={"task": {"goal": [1.0, -2.0]}})
    obs, reward, terminated, _, info = env.step(np.full(8, -0.5))
    x, y = env.world.simulation.qpos[0, :2]
    np.testing.assert_array_equal(obs[:2], [x, y])
    assert info["distance"] == pytest.approx(np.hypot(x - 1, y + 2))
    assert info["reward_goal"] == pytest.approx(-(abs(x - 1) + abs(y + 2)))
    assert reward == pytest.approx(info["reward_goal"] - 0.1 * 8 * 0.25 + info["reward_contact"])
    assert not terminated


@pytest.mark.parametrize("world", ["AntDir", "AntGoal"])
def test_ant_without_contacts(world):
    short, full = make(f"metarl/{world}-v0", contact_obs=False), make(f"metarl/{world}-v0")
    one, two = short.reset(seed=3)[0], full.reset(seed=3)[0]
    np.testing.assert_array_equal(one, two[: len(one)])
    assert len(two) - len(one) == 84
    for _ in range(10):
        one, two = short.step(np.full(8, 0.4)), full.step(np.full(8, 0.4))
        assert one[1] == two[1]
        np.testing.assert_array_equal(one[0], two[0][: len(one[0])])


@pytest.mark.parametrize(("world", "joints"), [("HopperParams", 3), ("WalkerParams", 6)])
def test_runners_by_hand(world, joints):
    env = make(f"metarl/{world}-v0")
    env.reset(seed=5)
    start = env.world.simulation.qpos[0, 0]
    obs, reward, terminated, _, info = env.step(np.full(joints, 0.5))
    speed = (env.world.simulation.qpos[0, 0] - start) / 0.008
    assert info["reward_control"] == pytest.approx(-1e-3 * joints * 0.25)
    assert reward == pytest.approx(speed + 1.0 - 1e-3 * joints * 0.25)
    assert not terminated
    np.testing.assert_array_equal(obs[: 2 + joints], env.world.simulation.qpos[0, 1:])


@pytest.mark.parametrize(
    ("world", "height", "pitch", "terminated"),
    [
        ("HopperParams", 1.2, 0.0, False),
        ("HopperParams", 0.65, 0.0, True),
        ("HopperParams", 1.2, 0.25, True),
        ("HopperParams", 1.2, -0.25, True),
        ("WalkerParams", 1.2, 0.8, False),
        ("WalkerParams", 1.2, -1.1, True),
        ("WalkerParams", 0.7, 0.0, True),
        ("WalkerParams", 2.2, 0.0, True),
    ],
)
def test_runners_end_when_fallen(world, height, pitch, terminated):
    env = make(f"metarl/{world}-v0")
    env.reset(seed=5)
    qpos = np.zeros_like(env.world.simulation.qpos[0])
    qpos[1:3] = height, pitch
    place(env, qpos, np.zeros(len(qpos)))
    assert env.step(np.zeros(env.action_space.shape))[2] == terminated


@pytest.mark.parametrize("sign", [1, -1])
def test_runners_see_clipped_velocities(sign):
    env = make("metarl/HopperParams-v0")
    env.reset(seed=5)
    place(env, qvel=np.array([sign * 50.0, 0, 0, 0, 0, 0]))
    obs, *_ = env.step(np.zeros(3))
    assert sign * env.world.simulation.qvel[0, 0] > 11
    assert obs[5] == sign * 10


@pytest.mark.parametrize(
    "world", [name for name in sorted(WORLDS) if "Point" not in name and "Sumo" not in name]
)
def test_starts_are_spread_as_told(world):
    env = gymnasium.make_vec(world, num_envs=400, vectorization_mode="vector_entry_point").unwrapped
    env.reset(seed=0)
    simulation = env.world.simulation
    model = simulation.model
    away = simulation.qpos - (model.key_qpos[0] if model.nkey else model.qpos0)
    gentle = "Params" in world
    largest = 0.005 if gentle else 0.1
    assert np.abs(away).max() <= largest
    assert abs(away.std() - largest / np.sqrt(3)) < 0.05 * largest
    spread = 0.005 / np.sqrt(3) if gentle else 0.1
    assert abs(simulation.qvel.std() - spread) < 0.05 * spread
    assert abs(simulation.qvel.mean()) < 0.1 * spread


def test_split_hashes_are_these_for_ever():
    assert {name: make(name).tasks.split_hash[:12] for name in sorted(WORLDS) if "Sumo" not in name} == SPLITS
