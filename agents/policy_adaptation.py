"""From trajectories to an adapted policy: the inner loop of every gradient-based agent, in training and at execution.

Legend: T tasks, B trajectories, H time steps, D observation size, A action size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metarl.adaptation import adapt_step
from metarl.agents.baselines import ValueNetwork, fit_linear_values
from metarl.agents.configs import InnerConfig, SamplingConfig
from metarl.agents.estimators import (
    generalized_advantages,
    returns_to_go,
    standardize,
    surrogate,
)
from metarl.agents.policies import GaussianPolicy, log_probability
from metarl.agents.recurrent_policies import fold, memory_at_chunks, unfold
from metarl.agents.rollouts import Trajectories, one_torch_thread
from metarl.nn import stateless
from metarl.tasks import over_tasks
from metarl.update_rules import SGD, LearnedSGD

Valued = dict[str, Tensor]
"""Trajectories with what they were worth: `obs`, `actions`, `mask`, `mean`, `log_std`, `log_probs` (as sampled),
`advantages` (standardised per task), `returns` (discounted, from each step on), with leading axes (T, B, H) or (B, H);
`advantage_scale`, what the advantages were divided by, shape (T,) or (); and perhaps `weights`, importance weights,
(T, B, H) or (B, H), and `memory` and `value_memory`, what policy and value network remembered at the start of every
chunk, (T, B, N, M) or (B, N, M)."""


def value_trajectories(
    trajectories: Trajectories,
    sampling: SamplingConfig,
    values: Tensor | None = None,
    groups: Tensor | None = None,
) -> Valued:
    """Advantages and returns of sampled trajectories.

    Args:
        trajectories: Of T tasks.
        sampling: Discount, lambda, baseline and reward scale.
        values: What a value network says, shape (T, B, H); required for the baseline `network`.
        groups: Which trajectories have advantages with a mean of their own, see `standardize`.

    Returns:
        Tensors by name, as `Valued` lists them, without gradient.
    """
    mask = trajectories.mask
    rewards = trajectories.rewards * sampling.reward_scale
    returns = returns_to_go(rewards, mask, sampling.discount)
    if sampling.baseline == "linear":
        values = fit_linear_values(trajectories.raw_obs, returns, mask)
    elif sampling.baseline == "none":
        values = torch.zeros_like(rewards)
    advantages = generalized_advantages(rewards, values, mask, sampling.discount, sampling.gae_lambda)
    advantages, scale = standardize(advantages, mask, groups)
    return {
        **trajectories.seen(),
        "actions": trajectories.actions,
        "mask": mask,
        "mean": trajectories.mean,
        "log_std": trajectories.log_std,
        "log_probs": trajectories.log_probs,
        "advantages": advantages,
        "advantage_scale": scale,
        "returns": returns,
    }


def rule_of(config: InnerConfig) -> SGD | LearnedSGD:
    """The update rule that a configuration names."""
    own = {} if config.context_lr is None else {"policy.context": config.context_lr}
    if config.step_sizes == "fixed":
        return SGD(config.lr, config.clip, config.clip_by, own)
    return LearnedSGD(config.lr, config.step_sizes, False, config.clip, config.clip_by, own)


@dataclass(frozen=True)
class PolicyAdaptation:
    """The inner loop of a policy: which surrogate it descends, by which rule, and what it may change."""

    policy: GaussianPolicy
    """The network; its parameters are passed in by name, with the prefix `policy.`."""
    config: InnerConfig
    """Step size, estimator, adapted set."""
    value: ValueNetwork | None = None
    """The value network, if there is one; its parameters have the prefix `value.`."""

    @cached_property
    def rule(self) -> SGD | LearnedSGD:
        """The update rule that the configuration names."""
        return rule_of(self.config)

    @cached_property
    def _network(self) -> Callable[..., tuple[Tensor, Tensor]]:
        return stateless(self.policy, prefix="policy.")

    @cached_property
    def _value_network(self) -> Callable[..., Tensor]:
        return stateless(self.value, prefix="value.")

    @property
    def adapted(self) -> tuple[str, ...]:
        """Name patterns of the parameters that adapt."""
        if self.config.adapted == "context":
            return ("policy.context",)
        return ("policy.*", "value.*") if self.config.value_weight > 0 else ("policy.*",)

    @cached_property
    def _value_core(self) -> Callable[..., tuple[Tensor, Tensor]]:
        return stateless(self.value.network, prefix="value.network.")

    def distribution(self, params: dict[str, Tensor], seen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of one task's policy at what it saw.

        Args:
            params: Of one task.
            seen: Holds `obs` (B, H, D), and of a policy with memory `memory` (B, N, M), as it was when the trajectories
                were sampled: a constant from which each chunk of them starts.

        Returns:
            Shape (B, H, A) each.
        """
        obs, memory = seen["obs"], seen.get("memory")
        if memory is None:
            return self._network(params, obs)
        chunks = fold(obs, memory.shape[1], self.policy.unroll)
        mean, log_std, _ = self._network(params, chunks, memory.flatten(0, 1))
        return unfold(mean, *obs.shape[:2]), unfold(log_std, *obs.shape[:2])

    def log_probs(self, params: dict[str, Tensor], valued: Valued) -> Tensor:
        """Log-probabilities of one task's sampled actions under `params`, shape (B, H)."""
        return log_probability(valued["actions"], *self.distribution(params, valued))

    def values(self, params: dict[str, Tensor], seen: dict[str, Tensor]) -> Tensor:
        """What the value network says of one task's trajectories, (B, H).

        Args:
            params: Of one task.
            seen: Holds `obs` (B, H, D), and for a network with memory `value_memory` (B, N, M).
        """
        return self._value_network(params, seen["obs"], self._context(params), seen.get("value_memory"))

    def value_memory(self, params: dict[str, Tensor], obs: Tensor) -> Tensor:
        """What the value network remembers of one task's episodes (B, H, D) at the start of every chunk: (B, N, M)."""
        inputs = self.value.inputs(obs, self._context(params)).transpose(0, 1)
        nothing = self.value.network.initial_memory(len(obs))
        _, after = self._value_core(params, inputs, nothing)
        return memory_at_chunks(after, nothing, self.value.unroll)

    def _context(self, params: dict[str, Tensor]) -> Tensor | None:
        return params.get("policy.context") if self.config.value_weight > 0 else None

    def value_loss(self, params: dict[str, Tensor], valued: Valued, weights: Tensor | None = None) -> Tensor:
        """Mean squared error of the values of one task, in squared effective horizons."""
        values = self.values(params, valued)
        return self.value.loss(values, valued["returns"], valued["mask"], weights)

    def loss(self, params: dict[str, Tensor], valued: Valued) -> Tensor:
        """The inner loss on one task's support trajectories: the negative surrogate, and the values' error."""
        log_probs = self.log_probs(params, valued)
        sampled, advantages, mask = valued["log_probs"], valued["advantages"], valued["mask"]
        weights = valued.get("weights")
        loss = -surrogate(log_probs, sampled, advantages, mask, self.config.estimator, weights)
        if self.config.value_weight > 0:
            loss = loss + self.config.value_weight * self.value_loss(params, valued, weights)
        return loss

    def step(self, params: dict[str, Tensor], valued: Valued, step: int) -> dict[str, Tensor]:
        """One inner step on one task, with its graph unless `first_order`."""
        return adapt_step(
            params,
            self.loss,
            valued,
            rule=self.rule,
            step=step,
            adapted=self.adapted,
            first_order=self.config.first_order,
        )[0]

    def step_tasks(self, params: dict[str, Tensor], valued: Valued, step: int) -> dict[str, Tensor]:
        """One inner step on T tasks, without a graph.

        Args:
            params: Every tensor with a leading axis T.
            valued: Every tensor with a leading axis T.
            step: Which inner step, from 0.

        Returns:
            As `params`.
        """
        frozen = {name: value.detach() for name, value in params.items()}
        if self.policy.unroll is not None and valued["obs"].device.type == "cpu":
            return self._step_one_by_one(frozen, valued, step)
        stepped = torch.vmap(lambda one, data: self.step(one, data, step))(frozen, valued)
        return {name: value.detach() for name, value in stepped.items()}

    @torch.no_grad()
    def _step_one_by_one(self, params: dict[str, Tensor], valued: Valued, step: int) -> dict[str, Tensor]:
        """As `step_tasks`: what a network with memory computes for one task fits a CPU's cache, for many it does not."""
        nothing = torch.zeros(())

        def task(_, one: tuple[dict[str, Tensor], Valued]) -> tuple[Tensor, dict[str, Tensor]]:
            return nothing, self.step(*one, step)

        how = "threads" if torch.get_num_threads() > 1 else "loop"
        return over_tasks(task, how=how)({}, (params, valued))[1]

    @torch.no_grad()
    def finite(self, params: dict[str, Tensor], valued: Valued) -> Tensor:
        """Of which tasks all parameters are finite, and so is what the policy does where it was: shape (T,).

        Args:
            params: Every tensor with a leading axis T.
            valued: Trajectories, every tensor with a leading axis T.
        """
        mean, log_std = torch.vmap(self.distribution)(params, valued)
        numbers = (*params.values(), mean, log_std.exp())
        return torch.stack([each.flatten(1).isfinite().all(1) for each in numbers]).all(0)

    @torch.no_grad()
    def value_tasks(
        self,
        params: dict[str, Tensor],
        trajectories: Trajectories,
        sampling: SamplingConfig,
        groups: Tensor | None = None,
    ) -> Valued:
        """Advantages and returns of T tasks' trajectories, by each task's own value network if there is one.

        Args:
            params: Every tensor with a leading axis T.
            trajectories: Of T tasks.
            sampling: Discount, lambda, baseline and reward scale.
            groups: Of trajectories, (T, B), see `standardize`.
        """
        if sampling.baseline != "network":
            return value_trajectories(trajectories, sampling, groups=groups)
        seen = {"obs": trajectories.obs}
        if self.value.unroll is None:
            values = torch.vmap(self.values)(params, seen)
        else:
            with (
                one_torch_thread()
            ):  # hundreds of small steps: threads would spend their time waiting for each other
                seen["value_memory"] = torch.vmap(self.value_memory)(params, trajectories.obs)
                values = torch.vmap(self.values)(params, seen)
        return value_trajectories(trajectories, sampling, values, groups) | seen


def policy_params(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The policy's own parameters, by the names that its module has for them."""
    return {
        name.removeprefix("policy."): value for name, value in params.items() if name.startswith("policy.")
    }


def chosen_by_task(chosen: Tensor, params: dict[str, Tensor], others: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of the tasks that are chosen, (T,), and the others of the rest."""
    return {
        name: torch.where(chosen.view(-1, *[1] * (value.dim() - 1)), value, others[name])
        for name, value in params.items()
    }


def for_each_task(params: dict[str, Tensor], num_tasks: int) -> dict[str, Tensor]:
    """The same parameters for every task: each tensor gets a leading axis of that length (no copy)."""
    return {name: value.detach().expand(num_tasks, *value.shape) for name, value in params.items()}
