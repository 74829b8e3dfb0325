"""sb3-contrib's recurrent PPO inside the suite's training loop, and in lifetimes: `recurrent-ppo` and `rl2`.

Legend: T lifetimes side by side, E episodes, H time steps of an episode, D observation size.
"""

import math
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from metarl.agents.experiment import Experiment
from metarl.agents.imitation import ImitationThenPPO
from metarl.agents.lifetime_vec_env import LifetimeVecEnv
from metarl.agents.lives import Lives, episode_seeds, lifetime_metrics
from metarl.agents.recurrent_ppo import RecurrentPPOConfig
from metarl.agents.rollouts import draw_lifetimes, draw_tasks, make_world, one_torch_thread
from metarl.agents.sb3_sequences import SequenceBuffer, SequencePolicy
from metarl.agents.sb3_training import (
    Draw,
    ScaledRewards,
    Whitened,
    check_rollout,
    collect,
    divergence_named,
    has_lifetimes,
    ready,
    settings_of,
)
from metarl.training import Batch


class WhitenedLayers(BaseFeaturesExtractor):
    """Whitened observations through layers with tanh or ReLU: what an LSTM gets to see."""

    def __init__(
        self,
        observation_space: gymnasium.spaces.Box,
        hidden: tuple[int, ...] = (64,),
        activation: str = "tanh",
    ):
        sizes = (observation_space.shape[0], *hidden)
        super().__init__(observation_space, features_dim=sizes[-1])
        self.whitened = Whitened(observation_space)
        kind = nn.ReLU if activation == "relu" else nn.Tanh
        layers = [each for i in range(len(hidden)) for each in (nn.Linear(sizes[i], sizes[i + 1]), kind())]
        self.layers = nn.Sequential(*layers)

    def forward(self, observations: Tensor) -> Tensor:
        """Shape (B, D) to (B, hidden[-1])."""
        return self.layers(self.whitened(observations))


class MemoryTraining:
    """What the trainer asks of an algorithm, answered by sb3-contrib's recurrent PPO.

    Every iteration lives one whole lifetime in every simulation, from its start; where the world has no lifetimes, some
    episodes of one task. The memory is kept from episode to episode, and a lifetime's return is one long return.

    Args:
        experiment: World and seed.
        config: Settings.
        device: Where the policy lives.
        draw: Draws the tasks of training; unset, lifetimes where the world has them, else any tasks.
    """

    trajectories = 20
    """Lifetimes of each task in an evaluation, where nothing else is said."""
    methods = ("memory",)
    """Ways to live a lifetime: keeping the memory from episode to episode."""

    def __init__(
        self,
        experiment: Experiment,
        config: RecurrentPPOConfig,
        device: torch.device,
        draw: Draw | None = None,
    ):
        self.config = config
        self._draw_tasks = draw or draw_tasks
        self._world = (experiment.world, config.horizon, experiment.world_options)
        self._evaluation_tasks = experiment.evaluation_tasks
        self._lifetimes_env = self._make_env(config.environments)
        self.env = self._lifetimes_env.env
        self._scheduled = draw is None and has_lifetimes(self.env)
        first = self._draw(config.environments, np.random.default_rng(0))  # the learner resets once to no end
        check_rollout(config.environments, len(first[0]) * self.env.horizon)
        self._lifetimes_env.begin(first, np.zeros((len(first[0]), len(first))))
        self.model = ready(
            RecurrentPPO(
                SequencePolicy,
                ScaledRewards(self._lifetimes_env, config.reward_scale),
                **settings_of(config, experiment.seed, device),
                n_steps=len(first[0]) * self.env.horizon,
                policy_kwargs={
                    "net_arch": [],
                    "log_std_init": math.log(config.initial_std),
                    "features_extractor_class": WhitenedLayers,
                    "features_extractor_kwargs": {
                        "hidden": config.hidden,
                        "activation": config.activation,
                    },
                    "share_features_extractor": False,
                    "lstm_hidden_size": config.memory,
                },
            ),
            config.initial_action,
        )
        self.model.rollout_buffer = SequenceBuffer(self.model, config.unroll)
        self.module = self.model.policy
        self.optimizer = ImitationThenPPO(self.model, config.imitation)

    def _make_env(self, num_envs: int) -> LifetimeVecEnv:
        world, horizon, options = self._world
        made = make_world(world, num_envs, horizon, like=getattr(self, "env", None), **options)
        return LifetimeVecEnv(made, self.config.feedback)

    def _draw(self, num: int, rng: np.random.Generator, split: str = "train") -> list[list[dict]]:
        """Lifetimes of the world; where it has none, of one task each."""
        if self._scheduled:
            return draw_lifetimes(self.env, num, split, rng)
        return [[task] * self.config.episodes for task in self._draw_tasks(self.env, num, split, rng)]

    def collect(self, rng: np.random.Generator) -> Batch:
        """One freshly drawn train lifetime in every simulation."""
        lifetimes = self._draw(self.env.num_envs, rng)
        self._lifetimes_env.begin(lifetimes, episode_seeds(rng, len(lifetimes), len(lifetimes[0])))
        self.optimizer.seed = int(rng.integers(2**31))
        batch = collect(self.model, self.model.env)
        returns = np.nanmean(self._lifetimes_env.returns, axis=0)
        batch.metrics["rollout/ep_rew_mean"] = float(returns.mean())
        batch.metrics["rollout/ep_len_mean"] = float(np.nanmean(self._lifetimes_env.lengths))
        if len(returns) > 1:
            batch.metrics |= {f"adapt/return_{e}": float(each) for e, each in enumerate(returns)}
            batch.metrics["adapt/gain"] = float(returns[-1] - returns[0])
        return batch

    def loss(self, data: None) -> tuple[Tensor, dict[str, Any]]:
        """Not asked for: sb3-contrib computes PPO's loss in its own minibatches (see `PPOUpdate`)."""
        raise RuntimeError("recurrent PPO's loss is computed by sb3-contrib itself")

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Return of each episode of test lifetimes; in a world without them, of several episodes of one test task."""
        if self._scheduled:
            lifetimes = self._draw(self._evaluation_tasks, rng, "test")
            return lifetime_metrics(self.live(lifetimes, rng), lifetimes)
        tasks = draw_tasks(self.env, self._evaluation_tasks, "test", rng)
        returns = self.returns_after_adapting(tasks, rng, self.config.episodes - 1).mean(0)
        metrics = {f"eval/return_{e}": float(each) for e, each in enumerate(returns)}
        return metrics if len(returns) == 1 else metrics | {"eval/gain": float(returns[-1] - returns[0])}

    @divergence_named()
    @one_torch_thread()
    def live(
        self,
        lifetimes: list[list[dict]],
        rng: np.random.Generator,
        method: str = "memory",
        keep_actions: bool = False,
    ) -> Lives:
        """Live lifetimes side by side, one simulation each, from an empty memory.

        Args:
            lifetimes: T equally long lists of tasks.
            rng: Initial states and actions follow from it.
            method: There is one.
            keep_actions: Whether to return the actions too.

        Returns:
            Returns; and what the world tells (see `metarl.agents.lives.Tally`).
        """
        T, E = len(lifetimes), len(lifetimes[0])
        seeds = episode_seeds(rng, T, E)
        torch.manual_seed(int(rng.integers(2**31)))
        with closing(self._make_env(T)) as env:
            env.begin(lifetimes, seeds)
            actions = np.zeros((T, E, env.env.horizon, *env.action_space.shape), dtype=np.float32)
            obs, state, start = env.reset(), None, np.ones(T, dtype=bool)
            while np.isnan(env.returns).any():
                action, state = self.model.predict(obs, state, start)
                living = np.flatnonzero(np.isnan(env.returns[:, -1]))
                if keep_actions:
                    actions[living, env.episode[living], env.elapsed[living]] = action[living]
                obs, _, start, _ = env.step(action)
            return Lives(env.returns, env.measures(), actions if keep_actions else None)

    def returns_after_adapting(
        self,
        tasks: list[dict],
        rng: np.random.Generator,
        inner_steps: int = 0,
        trajectories: int | None = None,
    ) -> np.ndarray:
        """Adapt by memory: several episodes of each task, from an empty memory.

        Args:
            tasks: Any tasks of the world.
            rng: Episodes follow from it.
            inner_steps: Episodes before the last.
            trajectories: Lifetimes of each task; unset, 20.

        Returns:
            Mean undiscounted return of every episode, shape (tasks, inner_steps + 1).
        """
        num = trajectories or self.trajectories
        lives = self.live([[task] * (inner_steps + 1) for task in tasks for _ in range(num)], rng)
        return lives.returns.reshape(len(tasks), num, inner_steps + 1).mean(1)
