"""From trajectories to what the inner loop is given, by hand."""

import pytest
import torch

from metarl.agents.configs import SamplingConfig
from metarl.agents.policy_adaptation import value_trajectories
from metarl.agents.rollouts import Trajectories


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_rewards_are_scaled_before_they_are_valued(scale):
    nothing = torch.zeros(1, 2, 2, 1)
    rewards = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    trajectories = Trajectories(nothing, nothing, nothing, rewards, torch.ones(1, 2, 2), nothing, nothing)
    sampling = SamplingConfig(baseline="none", discount=1.0, gae_lambda=1.0, reward_scale=scale)
    valued = value_trajectories(trajectories, sampling)
    deviation = 3.5**0.5  # returns of 3, 2, 7 and 4: mean 4, squared distances 1, 4, 9 and 0
    torch.testing.assert_close(valued["returns"], scale * torch.tensor([[[3.0, 2.0], [7.0, 4.0]]]))
    torch.testing.assert_close(valued["advantage_scale"], torch.tensor([scale * deviation]))
    torch.testing.assert_close(valued["advantages"], torch.tensor([[[-1.0, -2.0], [3.0, 0.0]]]) / deviation)
    torch.testing.assert_close(trajectories.returns(), torch.tensor([[3.0, 7.0]]))
