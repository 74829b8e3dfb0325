"""PPO in a lifetime: a fixed policy, or one that tracks, which is to go on learning by PPO after every episode.

Tracking is the baseline of Al-Shedivat et al. 2018 (arXiv 1710.03641, sec. 5.1). Every lifetime has a policy and an
optimiser of its own, which start as they were trained; observation statistics stay as they were trained.

Legend: T lifetimes side by side, one simulation each, E episodes, H time steps, D observation size, A action size.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor
from torch.func import functional_call

from metarl.agents.configs import PolicyConfig
from metarl.agents.estimators import masked_mean
from metarl.agents.lives import Lives, Watched, episode_seeds
from metarl.agents.policies import GaussianPolicy, kl_divergence
from metarl.agents.ppo import TrackingConfig
from metarl.agents.rollouts import Trajectories, one_torch_thread, rollout
from metarl.agents.sb3_training import divergence_named, shuffling
from metarl.gradients import NonFinite


@dataclass(frozen=True)
class Episode:
    """What one simulation saw and did in one episode of H steps."""

    obs: np.ndarray
    """(H, D), as the world gave them."""
    actions: np.ndarray
    """(H, A), as sampled."""
    rewards: np.ndarray
    """(H,)"""
    last_obs: np.ndarray
    """(D,), after the last step."""
    cut: bool
    """Whether it ended by its time limit, and so would have gone on."""


def update(
    model: PPO, policy: ActorCriticPolicy, episode: Episode, config: TrackingConfig, seed: int
) -> None:
    """Stable-Baselines3's `PPO.train` on one episode.

    Args:
        model: Whose settings hold where the configuration leaves them open; not changed.
        policy: Changed in place, with the optimiser that it carries.
        episode: What it lived.
        config: Step size, epochs, minibatches.
        seed: Of the shuffling.
    """
    learner = copy.copy(model)
    learner.policy = policy
    learner.rollout_buffer = _buffer(model, policy, episode)
    learner.n_epochs = model.n_epochs if config.epochs is None else config.epochs
    learner.batch_size = config.batch_size or model.batch_size
    if config.lr is not None:
        learner.lr_schedule = lambda _: config.lr
    with shuffling(seed):
        learner.train()


@torch.no_grad()
def _buffer(model: PPO, policy: ActorCriticPolicy, episode: Episode) -> RolloutBuffer:
    """The rollout buffer as Stable-Baselines3 would have filled it."""
    H = len(episode.rewards)
    buffer = RolloutBuffer(
        H, model.observation_space, model.action_space, model.device, model.gae_lambda, model.gamma
    )
    obs, actions = (torch.as_tensor(x, device=model.device).float() for x in (episode.obs, episode.actions))
    values, log_probs, _ = policy.evaluate_actions(obs, actions)
    last_obs = torch.as_tensor(episode.last_obs, device=model.device).float().unsqueeze(0)
    last_value = policy.predict_values(last_obs)
    buffer.observations[:, 0], buffer.actions[:, 0] = obs.cpu().numpy(), actions.cpu().numpy()
    buffer.rewards[:, 0] = episode.rewards
    buffer.values[:], buffer.log_probs[:, 0] = values.cpu().numpy(), log_probs.cpu().numpy()
    buffer.episode_starts[0] = 1
    if episode.cut:
        buffer.rewards[-1] += model.gamma * float(last_value)
    buffer.pos, buffer.full = H, True
    buffer.compute_returns_and_advantage(last_values=last_value.flatten(), dones=np.ones(1))
    return buffer


def copied(policy: ActorCriticPolicy) -> ActorCriticPolicy:
    """A policy like this one, with an optimiser like its."""
    policy.action_dist.distribution = None  # what the last minibatch left there carries its graph
    return copy.deepcopy(policy)


def as_gaussian(model: PPO) -> GaussianPolicy:
    """A network of the policy's sizes that acts for many copies of it at once; its own parameters mean nothing."""
    layers = _layers(model.policy)
    config = PolicyConfig(hidden=tuple(layer.out_features for layer in layers[:-1]), minimum_std=1e-6)
    policy = GaussianPolicy(layers[0].in_features, layers[-1].out_features, config)
    return policy.to(model.device)


def stacked(policies: Sequence[ActorCriticPolicy]) -> dict[str, Tensor]:
    """Parameters of many policies, by the names of `as_gaussian`, with a leading axis T."""
    params = {"log_std": torch.stack([each.log_std.detach() for each in policies])}
    layers = [_layers(each) for each in policies]
    for i in range(len(layers[0])):
        for kind in ("weight", "bias"):
            tensors = [getattr(each[i], kind).detach() for each in layers]
            params[f"network.layers.{i}.{kind}"] = torch.stack(tensors)
    return params


def _layers(policy: ActorCriticPolicy) -> list[torch.nn.Linear]:
    hidden = [each for each in policy.mlp_extractor.policy_net if isinstance(each, torch.nn.Linear)]
    return [*hidden, policy.action_net]


@one_torch_thread()
def live(
    model: PPO,
    env: VectorEnv,
    lifetimes: Sequence[Sequence[dict]],
    rng: np.random.Generator,
    config: TrackingConfig | None = None,
    keep_actions: bool = False,
    reward_scale: float = 1.0,
) -> Lives:
    """Live lifetimes side by side: physics and policies all at once, updates one lifetime after another.

    An update after which a policy or its divergence from the trained one is not finite is not taken.

    Args:
        model: As it was trained; not changed.
        env: T simulations, as `metarl.agents.rollouts.make_world` gives them.
        lifetimes: T equally long lists of tasks.
        rng: Initial states, actions and shuffling follow from it.
        config: How to track; unset, the policy stays as it is.
        keep_actions: Whether to return the actions too.
        reward_scale: What rewards are multiplied by before they are learned from, as in training.

    Returns:
        Returns; what the world tells (see `metarl.agents.lives.Tally`); and of tracking `inner_kl`, the mean KL
        divergence of an episode's policy from the trained one on the observations of the episode before (NaN for the
        first).
    """
    T, E = len(lifetimes), len(lifetimes[0])
    seeds, rngs, shuffles = episode_seeds(rng, T, E), rng.spawn(T), rng.spawn(T)
    policies = [model.policy] * T
    policy, watched = as_gaussian(model), Watched(env)
    normalizer = model.policy.features_extractor.normalizer
    start = params = stacked(policies)
    returns, kl = (np.full((T, E), np.nan) for _ in range(2))
    measures: dict[str, np.ndarray] = {}
    actions = []
    for e in range(E):
        tasks = [lifetime[e] for lifetime in lifetimes]
        lived = rollout(watched, policy, params, normalizer, tasks, rngs, seeds=seeds[e])
        returns[:, e] = lived.returns()[:, 0].cpu().numpy()
        for name, value in watched.measures().items():
            measures.setdefault(name, np.full((T, E), np.nan))[:, e] = value
        if keep_actions:
            actions.append(lived.first_actions(env.horizon))
        if config and e + 1 < E:
            learning = zip(policies, _episodes(lived, watched, reward_scale), shuffles, strict=True)
            tried = [
                _learned(model, each, episode, config, int(shuffle.integers(2**31)))
                for each, episode, shuffle in learning
            ]
            finite = _divergence(policy, start, stacked(tried), lived).isfinite().tolist()
            policies = [new if good else old for new, old, good in zip(tried, policies, finite, strict=True)]
            params = stacked(policies)
            kl[:, e + 1] = _divergence(policy, start, params, lived).cpu().numpy()
    if config:
        measures["inner_kl"] = kl
    return Lives(returns, measures, np.stack(actions, axis=1) if keep_actions else None)


def _learned(
    model: PPO, policy: ActorCriticPolicy, episode: Episode, config: TrackingConfig, seed: int
) -> ActorCriticPolicy:
    """A copy that has learned from an episode; the policy itself where that diverged."""
    learner = copied(policy)
    try:
        with divergence_named():
            update(model, learner, episode, config, seed)
    except NonFinite:
        return policy
    return learner


def _episodes(lived: Trajectories, watched: Watched, reward_scale: float) -> list[Episode]:
    """The episode of each simulation, without what comes after its end."""
    lengths = lived.mask[:, 0].sum(-1).long().tolist()
    obs, actions, rewards = (x[:, 0].cpu().numpy() for x in (lived.raw_obs, lived.actions, lived.rewards))
    return [
        Episode(
            obs[i, :n],
            actions[i, :n],
            reward_scale * rewards[i, :n],
            watched.last_obs[i],
            bool(watched.cut[i]),
        )
        for i, n in enumerate(lengths)
    ]


@torch.no_grad()
def _divergence(
    policy: GaussianPolicy, start: dict[str, Tensor], params: dict[str, Tensor], lived: Trajectories
) -> Tensor:
    """Mean KL divergence of the policies from those of the start on what was lived, (T,)."""
    obs = lived.obs[:, 0]
    before, after = (functional_call(policy, each, (obs,)) for each in (start, params))
    return torch.vmap(masked_mean)(kl_divergence(*before, *after), lived.mask[:, 0])
