"""PPO of Stable-Baselines3 in our loop: what it reports, and what it refuses."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnv

from metarl.agents import preset
from metarl.agents.experiment import Experiment
from metarl.agents.rollouts import draw_lifetimes
from metarl.agents.sb3_memory import MemoryTraining
from metarl.agents.sb3_ppo import PPOTraining
from metarl.agents.sb3_training import ScaledRewards

WORLD = "metarl/PointNavigation-v0"
TRAININGS = {"ppo": PPOTraining, "recurrent-ppo": MemoryTraining}


def test_reported_returns_are_those_of_the_world_whatever_the_values_say():
    config = replace(preset("ppo"), environments=3, horizon=5, batch_size=15, hidden=(4,), reward_scale=0.1)
    training = PPOTraining(Experiment(WORLD, steps=1), config, torch.device("cpu"))
    with torch.no_grad():
        training.module.value_net.bias += 1000  # episodes end by their time limit: what follows is valued
    metrics = training.collect(np.random.default_rng(0)).metrics
    assert training.model.rollout_buffer.rewards.sum() > 100
    assert -5 * 10 < metrics["rollout/ep_rew_mean"] < 0
    assert metrics["rollout/ep_len_mean"] == 5


class Ends(VecEnv):
    """Two worlds that pay 1 a step: episodes of 2 steps in the one, of 3 in the other."""

    def __init__(self):
        box = gymnasium.spaces.Box(-1, 1, (1,))
        super().__init__(2, box, box)

    def reset(self):
        self.steps = np.zeros(2, int)
        return np.zeros((2, 1))

    def step_async(self, actions):
        pass

    def step_wait(self):
        self.steps += 1
        done = self.steps % [2, 3] == 0
        return np.zeros((2, 1)), np.ones(2, np.float32), done, [{}, {}]

    def close(self):
        pass

    def get_attr(self, name, indices=None):
        return [None, None]

    set_attr = env_method = env_is_wrapped = get_attr


def test_an_episode_that_has_not_ended_is_not_reported():
    worlds = ScaledRewards(Ends(), 0.5)
    worlds.reset()
    for _ in range(4):
        assert worlds.step(np.zeros((2, 1)))[1].tolist() == [0.5, 0.5]
    assert (worlds.returns.tolist(), worlds.lengths.tolist()) == ([2, 3], [2, 3])
    worlds.reset()
    worlds.step(np.zeros((2, 1)))
    assert worlds.lengths.tolist() == [1, 1]


@pytest.mark.parametrize("agent", ["ppo", "recurrent-ppo"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"initial_std": 0.0}, "initial_std=0.0, expected above 0"),
        ({"epochs": 0}, "epochs=0, expected 1 or more"),
        ({"batch_size": 1}, "batch_size=1, expected 2 or more"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"discount": 1.5}, r"discount=1.5, expected in \[0, 1\]"),
        ({"hidden": (0,)}, "hidden="),
        ({"environments": 0}, "environments=0"),
        ({"horizon": 0}, "horizon=0"),
        ({"reward_scale": 0.0}, "reward_scale=0.0"),
        ({"initial_action": (0.0, float("nan"))}, "initial_action=.*expected numbers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(agent, wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(preset(agent), **wrong)


def test_a_world_without_lifetimes_says_so():
    with pytest.raises(ValueError, match="has no lifetimes"):
        draw_lifetimes(object(), 2, "train", np.random.default_rng(0))


@pytest.mark.parametrize("agent", ["ppo", "recurrent-ppo"])
def test_a_policy_acts_at_first_as_it_is_told_to(agent):
    config = replace(preset(agent), environments=2, horizon=3, batch_size=2, initial_action=(0.25, -0.5))
    training = TRAININGS[agent](Experiment(WORLD, steps=1), config, torch.device("cpu"))
    obs = np.random.default_rng(0).normal(size=(20, training.env.single_observation_space.shape[0]))
    given, _ = training.model.predict(obs, deterministic=True)
    assert np.abs(given - [0.25, -0.5]).max() < 0.05
    with pytest.raises(ValueError, match="initial_action has 1 numbers, expected 2"):
        TRAININGS[agent](
            Experiment(WORLD, steps=1), replace(config, initial_action=(0.5,)), torch.device("cpu")
        )
