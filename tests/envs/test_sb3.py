"""The adapter to Stable-Baselines3."""

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from metarl.envs import WORLDS
from metarl.envs.sb3 import SB3VecEnv, as_sb3


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.filterwarnings("error:.*(python|type|dtype).*")
def test_official_check(world):
    check_env(gymnasium.make(world).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("world", ["metarl/HopperParams-v0", "metarl/CheetahDir-v0"])
def test_equals_their_own_vector_environment(world):
    """Same seeds, same actions: the same as SB3's DummyVecEnv of the scalar face, but for float32."""
    ours = as_sb3(world, 3, horizon=6)
    theirs = make_vec_env(world, 3, env_kwargs={"horizon": 6})
    for env in (ours, theirs):
        env.seed(7)
    np.testing.assert_array_equal(ours.reset(), theirs.reset().astype(np.float32))
    assert ours.reset_infos == theirs.reset_infos
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(15):
        action = rng.uniform(-1, 1, (3, *ours.action_space.shape)).astype(np.float32)
        obs, reward, done, infos = ours.step(action)
        other, other_reward, other_done, other_infos = theirs.step(action)
        np.testing.assert_array_equal(obs, other.astype(np.float32))
        np.testing.assert_array_equal(reward, other_reward)
        np.testing.assert_array_equal(done, other_done)
        for index, (one, two) in enumerate(zip(infos, other_infos, strict=True)):
            two.pop("episode", None)
            if done[index]:
                ends += 1
                last = two.pop("terminal_observation").astype(np.float32)
                np.testing.assert_array_equal(one.pop("terminal_observation"), last)
                assert type(one["TimeLimit.truncated"]) is bool
            else:
                two.pop("TimeLimit.truncated", None)
            assert one == two
        assert ours.reset_infos == theirs.reset_infos
    assert ends >= 6


def test_tasks_by_env_method():
    env = as_sb3("metarl/CheetahVel-v0", 3)
    env.reset()
    env.env_method("set_task", {"velocity": 1.5})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((3, 6)))
    env.reset()
    env.env_method("set_task", {"velocity": 2.5}, indices=[1])
    env.reset()
    assert env.env_method("get_task") == [{"velocity": 1.5}, {"velocity": 2.5}, {"velocity": 1.5}]
    env.set_options([{"task": {"velocity": v}} for v in (0.5, 1.0, 2.0)])
    env.reset()
    assert env.env_method("get_task", indices=2) == [{"velocity": 2.0}]
    env.set_options([{}, {"task": {"velocity": 1.5}}, {}])
    env.reset()
    assert [task["velocity"] for task in env.env_method("get_task")] == [0.5, 1.5, 2.0]
    env.set_options([{}, {"tsak": {}}, {}])
    with pytest.raises(ValueError, match=r"unknown option of a reset 'tsak': did you mean 'task'"):
        env.reset()
    assert env.get_attr("horizon") == [200] * 3
    assert env.env_is_wrapped(Monitor) == [False] * 3


def test_new_lifetimes_begin_in_the_simulations_that_ask_for_them():
    env = as_sb3("metarl/CheetahVel-v0", 3, lifetime={"schedule": "redraw", "episodes": 5})
    env.reset()
    env.set_options([{}, {"new_lifetime": True}, {}])
    env.reset()
    assert [(info["lifetime"], info["episode_index"]) for info in env.reset_infos] == [(0, 1), (1, 0), (0, 1)]


def test_what_may_be_set_reaches_the_world_and_nothing_else_may():
    env = as_sb3("metarl/RoboSumo-Ant-vs-Ant-v0", 2)
    env.set_attr("shaping", 0.25)
    assert env.env.world.match.shaping == 0.25
    assert env.get_attr("shaping") == [0.25, 0.25]
    for name in ("horizon", "num_env_typo"):
        with pytest.raises(ValueError, match=f"'{name}' cannot be set"):
            env.set_attr(name, 3)
    with pytest.raises(ValueError, match="share"):
        env.set_attr("shaping", 3, indices=0)


def test_learns_without_complaint():
    env = as_sb3("metarl/PointNavigation-v0", 4, horizon=10)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(64)
    assert model.num_timesteps == 64


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match="a world of metarl"):
        SB3VecEnv(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"))
    other = gymnasium.make_vec(
        "metarl/CheetahDir-v0", 2, vectorization_mode="vector_entry_point", autoreset_mode="NextStep"
    )
    with pytest.raises(ValueError, match="SameStep"):
        SB3VecEnv(other)
