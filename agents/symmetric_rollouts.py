"""A rollout together with what it looks like turned and mirrored."""

from collections.abc import Sequence

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy

from metarl.envs.symmetries import Symmetry


@torch.no_grad()
def with_symmetries(
    buffer: RolloutBuffer, policy: ActorCriticPolicy, symmetries: Sequence[Symmetry]
) -> RolloutBuffer:
    """A rollout as it would have been in every symmetry of its world.

    Rewards are the same in each, hence advantages and returns; log-probabilities are those of the policy for what it
    would have seen and done.

    Args:
        buffer: A full rollout of N simulations, H steps each.
        policy: That sampled it.
        symmetries: K, of which the first changes nothing.

    Returns:
        A full rollout of N K simulations.
    """
    count = len(symmetries)
    wide = RolloutBuffer(
        buffer.buffer_size,
        buffer.observation_space,
        buffer.action_space,
        device=buffer.device,
        gae_lambda=buffer.gae_lambda,
        gamma=buffer.gamma,
        n_envs=count * buffer.n_envs,
    )
    wide.observations = np.concatenate([each.observation(buffer.observations) for each in symmetries], axis=1)
    wide.actions = np.concatenate([each.action(buffer.actions) for each in symmetries], axis=1)
    for name in ("rewards", "returns", "episode_starts", "values", "advantages"):
        setattr(wide, name, np.concatenate([getattr(buffer, name)] * count, axis=1))
    log_probs = [buffer.log_probs]
    for each in symmetries[1:]:
        obs, actions = each.observation(buffer.observations), each.action(buffer.actions)
        found = [
            policy.get_distribution(torch.as_tensor(o, device=buffer.device)).log_prob(
                torch.as_tensor(a, device=buffer.device)
            )
            for o, a in zip(obs, actions, strict=True)
        ]
        log_probs.append(torch.stack(found).cpu().numpy())
    wide.log_probs = np.concatenate(log_probs, axis=1)
    wide.pos, wide.full = buffer.buffer_size, True
    return wide
