"""A trained meta-policy at work: it acts, and it adapts."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.meta_parameters import MetaParameters
from metarl.agents.policy_adaptation import PolicyAdaptation, policy_params
from metarl.agents.rollouts import Trajectories, rollout


@dataclass(frozen=True)
class Agent:
    """A policy with its inner loop. Adapting gives a new agent; the old one stays as it was."""

    module: MetaParameters
    """The network and the observation statistics."""
    config: MetaPolicyGradient
    """How it was trained, and so how it adapts."""
    params: dict[str, Tensor] = field(default_factory=dict)
    """Parameters it acts with: the meta-parameters, or what adaptation made of them."""
    inner_steps: int = 0
    """Inner steps taken so far."""

    def __post_init__(self):
        if not self.params:
            start = {name: value.detach() for name, value in self.module.named_parameters()}
            object.__setattr__(self, "params", start)

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Act, with the signature that Stable-Baselines3's policies have.

        Args:
            observation: Shape (D,) or (B, D).
            state: What a policy with memory remembers: as the last call gave it, or None for nothing, as at the start
                of a lifetime. Handed back as it is by a policy without.
            episode_start: Where True, shape () or (B,), what is remembered is forgotten first. If it is to last a
                lifetime (`policy.memory`), that is where a lifetime starts.
            deterministic: Act by the mean instead of sampling (from torch's global generator).

        Returns:
            Actions in [-1, 1], float32, shape (A,) or (B, A); and the next state, shape (M,) or (B, M).

        Raises:
            ValueError: The observation has another size than the policy was trained on, or the state is not of it.
        """
        observation = np.asarray(observation)
        size = self.module.normalizer.mean.shape[0]
        if observation.shape[-1:] != (size,):
            raise ValueError(f"observation of shape {observation.shape}, expected ({size},) or (B, {size})")
        device = self.module.normalizer.mean.device
        obs = self.module.normalizer(torch.as_tensor(observation, device=device).reshape(-1, size))
        memory = self._remembered(state, episode_start, observation.shape[:-1])
        mean, log_std, *memory = functional_call(
            self.module.policy, policy_params(self.params), (obs, *memory)
        )
        action = mean if deterministic else mean + log_std.exp() * torch.randn_like(mean)
        action = action.clamp(-1, 1).cpu().numpy()
        if memory:
            state = memory[0].reshape(*observation.shape[:-1], -1).cpu().numpy()
        return action.reshape(*observation.shape[:-1], -1), state

    def _remembered(self, state: Any, episode_start: Any, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The policy's memory before it acts, (B, M) or nothing at all; the shape is (B,) or ()."""
        nothing = self.module.policy.initial_memory(math.prod(shape))
        if not nothing or state is None:
            return nothing
        memory = torch.as_tensor(np.asarray(state)).to(nothing[0])
        expected = (*shape, nothing[0].shape[-1])
        if memory.shape != expected:
            raise ValueError(
                f"state of shape {tuple(memory.shape)}, expected {expected}: what the last call of predict returned"
            )
        memory = memory.reshape(nothing[0].shape)
        if episode_start is not None:
            kept = ~np.broadcast_to(np.asarray(episode_start, dtype=bool), shape).reshape(-1, 1)
            memory = memory * torch.as_tensor(kept, device=memory.device)
        return (memory,)

    def adapt(self, trajectories: Trajectories) -> "Agent":
        """A new agent, one inner step further on one task's trajectories.

        Args:
            trajectories: Of one task, sampled by this agent (`sample` gives them): leading axis T = 1.

        Raises:
            ValueError: The trajectories are of several tasks.
        """
        if len(trajectories.mask) != 1:
            raise ValueError(
                f"trajectories of {len(trajectories.mask)} tasks, expected 1; take one with .task(i)"
            )
        adaptation = PolicyAdaptation(self.module.policy, self.config.inner, self.module.value)
        params = {name: value.unsqueeze(0) for name, value in self.params.items()}
        valued = adaptation.value_tasks(params, trajectories, self.config.sampling)
        stepped = adaptation.step_tasks(params, valued, self.inner_steps)
        adapted = {name: value.squeeze(0) for name, value in stepped.items()}
        return replace(self, params=adapted, inner_steps=self.inner_steps + 1)

    def sample(self, env: Any, task: dict, seed: int = 0, deterministic: bool = False) -> Trajectories:
        """One episode of a task in each simulation of a world made by `metarl.agents.rollouts.make_world`.

        Returns:
            Trajectories with T = 1 and B = `env.num_envs`.
        """
        params = {name: value.unsqueeze(0) for name, value in policy_params(self.params).items()}
        rng = np.random.default_rng(seed)
        return rollout(env, self.module.policy, params, self.module.normalizer, [task], [rng], deterministic)
