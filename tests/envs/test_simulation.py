"""The simulations beneath the worlds: the same physics as MuJoCo's own loop, and no bad number ever."""

import pickle
from importlib.resources import files

import gymnasium
import mujoco
import numpy as np
import pytest

from metarl.envs.bodies import compile_quietly, load
from metarl.envs.simulation import Simulation

ASSETS = {
    "metarl/CheetahDir-v0": ("half_cheetah.xml", {}),
    "metarl/AntDir-v0": ("ant.xml", {"integrator": "rk4"}),
    "metarl/HopperParams-v0": ("hopper.xml", {}),
    "metarl/WalkerParams-v0": ("walker2d_v5.xml", {}),
}
ONES = {
    "metarl/HopperParams-v0": {"mass": [1] * 4, "damping": [1] * 3, "friction": [[1] * 3] * 5},
    "metarl/WalkerParams-v0": {"mass": [1] * 7, "damping": [1] * 6, "friction": [[1] * 3] * 8},
}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    """MuJoCo keeps a log of what diverges in the working directory."""
    monkeypatch.chdir(tmp_path)


def make_vec(world, num, **arguments):
    return gymnasium.make_vec(
        world, num_envs=num, vectorization_mode="vector_entry_point", **arguments
    ).unwrapped


@pytest.mark.filterwarnings("ignore:.*settotalmass.*")
@pytest.mark.parametrize("world", sorted(ASSETS))
def test_same_physics_as_the_plain_asset_in_a_plain_loop(world):
    """Gymnasium's untouched file, stepped by mj_step: scenery, sensor and batch change no digit."""
    asset, arguments = ASSETS[world]
    path = files("gymnasium").joinpath("envs", "mujoco", "assets", asset)
    model = mujoco.MjModel.from_xml_path(str(path))
    env = make_vec(world, 2, **arguments)
    env.reset(seed=3, options={"task": ONES[world]} if world in ONES else None)
    simulation = env.world.simulation
    data = mujoco.MjData(model)
    data.qpos, data.qvel = simulation.qpos[1], simulation.qvel[1]
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        terminated = env.step(actions)[2]
        if terminated[1]:
            break
        data.ctrl = actions[1]
        mujoco.mj_step(model, data, nstep=simulation.frame_skip)
        np.testing.assert_array_equal(simulation.qpos[1], data.qpos)
        np.testing.assert_array_equal(simulation.qvel[1], data.qvel)
    assert data.time > 0.1


@pytest.mark.parametrize("world", sorted(ASSETS))
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e12])
def test_divergence_is_ended_and_counted(world, bad):
    env = make_vec(world, 4, autoreset_mode="Disabled")
    env.reset(seed=1)
    actions = np.zeros(env.action_space.shape)
    before = env.step(actions)[0]
    env.world.simulation.qvel[2, 1] = bad
    with np.errstate(all="raise"):
        obs, reward, terminated, _, info = env.step(actions)
    assert list(info["diverged"]) == [False, False, True, False]
    assert terminated[2]
    assert env.num_diverged == 1
    np.testing.assert_array_equal(obs[2], before[2])
    assert reward[2] == 0
    assert all(np.isfinite(each).all() for each in (obs, reward, env.world.simulation.qvel))
    assert all(info[name][2] == 0 for name in info if name.startswith("reward_"))
    env.reset(options={"reset_mask": np.array([False, False, True, False])})
    _, reward, _, _, info = env.step(actions)
    assert not info["diverged"].any()
    assert reward[2] != 0
    assert env.num_diverged == 1


def test_divergence_within_a_step_is_found():
    """A body that explodes by itself, under a force that no number of the state shows beforehand."""
    env = make_vec("metarl/CheetahDir-v0", 3)
    env.reset(seed=1)
    env.world.simulation.bind("qfrc_applied")[1] = 1e14
    obs, reward, terminated, _, info = env.step(np.zeros((3, 6)))
    assert list(terminated) == [False, True, False]
    assert list(info["final_info"]["diverged"]) == [False, True, False]
    assert np.isfinite(obs).all()
    assert np.isfinite(reward).all()


def test_divergence_leaves_the_others_alone():
    env, twin = make_vec("metarl/AntDir-v0", 3), make_vec("metarl/AntDir-v0", 3)
    env.reset(seed=1), twin.reset(seed=1)
    env.world.simulation.qpos[1, 7] = np.nan
    for _ in range(3):
        one, two = env.step(np.full((3, 8), 0.2)), twin.step(np.full((3, 8), 0.2))
        np.testing.assert_array_equal(one[0][[0, 2]], two[0][[0, 2]])


def test_a_task_changes_only_its_simulation():
    world = "metarl/HopperParams-v0"
    env = make_vec(world, 3)
    heavy = {"mass": [3.0, 1, 1, 1], "damping": [1, 2.0, 1], "friction": [[1] * 3] * 4 + [[0.5, 1, 1]]}
    env.reset(seed=1, options={"tasks": [ONES[world], heavy, ONES[world]]})
    plain = env.world.simulation.model
    changed, same = env.world.simulation.snapshot(1)[0], env.world.simulation.snapshot(2)[0]
    assert changed.body_mass[1] == pytest.approx(3 * plain.body_mass[1])
    np.testing.assert_allclose(changed.body_inertia[1], 3 * plain.body_inertia[1])
    np.testing.assert_array_equal(changed.body_mass[2:], plain.body_mass[2:])
    np.testing.assert_allclose(changed.dof_damping[3:], plain.dof_damping[3:] * [1, 2, 1])
    assert changed.geom_friction[4, 0] == pytest.approx(0.5 * plain.geom_friction[4, 0])
    assert changed.body_subtreemass[0] == pytest.approx(plain.body_subtreemass[0] + 2 * plain.body_mass[1])
    for field in ("body_mass", "body_inertia", "dof_damping", "geom_friction", "dof_invweight0"):
        np.testing.assert_array_equal(getattr(same, field), getattr(plain, field), err_msg=field)
    twin = make_vec(world, 3)
    twin.reset(seed=1, options={"task": ONES[world]})
    for _ in range(5):
        one, two = env.step(np.full((3, 3), 0.3))[0], twin.step(np.full((3, 3), 0.3))[0]
    np.testing.assert_array_equal(one[[0, 2]], two[[0, 2]])
    assert (one[1] != two[1]).any()


@pytest.mark.parametrize("world", sorted(ONES))
def test_a_task_is_undone_by_the_next(world):
    used, fresh = make_vec(world, 2), make_vec(world, 2)
    first, second, third = used.sample_tasks(3, "train", 0)
    used.reset(seed=1, options={"tasks": [first, second]})
    for _ in range(3):
        used.step(np.zeros(used.action_space.shape))
    start = used.reset(seed=2, options={"task": third})[0]
    np.testing.assert_array_equal(start, fresh.reset(seed=2, options={"task": third})[0])
    for _ in range(5):
        one = used.step(np.full(used.action_space.shape, 0.2))
        two = fresh.step(np.full(fresh.action_space.shape, 0.2))
        np.testing.assert_array_equal(one[0], two[0])


def test_independent_inertia_is_a_task_of_its_own():
    env = make_vec("metarl/HopperParams-v0", 1, vary=("mass", "inertia"))
    task = {"mass": [1] * 4, "inertia": [[1] * 3, [2.0, 1, 1], [1] * 3, [1] * 3]}
    env.reset(seed=0, options={"task": task})
    model, plain = env.world.simulation.snapshot(0)[0], env.world.simulation.model
    np.testing.assert_allclose(model.body_inertia[2], plain.body_inertia[2] * [2, 1, 1])
    np.testing.assert_array_equal(model.body_mass, plain.body_mass)
    with pytest.raises(ValueError, match="did you mean 'friction'"):
        make_vec("metarl/HopperParams-v0", 1, vary=("fricton",))


def test_scenery_is_not_physics():
    plain = Simulation(compile_quietly(load("ant.xml")), 1, frame_skip=5)
    assert plain.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert plain.dt == pytest.approx(0.05)
    assert np.abs(plain.bind("cfrc_ext")).max() == 0


def test_simulations_refuse_to_be_pickled():
    with pytest.raises(TypeError, match="get_state"):
        pickle.dumps(Simulation(compile_quietly(load("hopper.xml")), 1, frame_skip=1))
