"""Stable-Baselines3's PPO inside the suite's training loop, and in lifetimes."""

import math
from contextlib import closing
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3 import PPO
from torch import Tensor

from metarl.agents import tracking
from metarl.agents.experiment import Experiment
from metarl.agents.imitation import ImitationThenPPO
from metarl.agents.lives import Lives, lifetime_metrics
from metarl.agents.ppo import PPOConfig
from metarl.agents.rollouts import draw_lifetimes, draw_tasks, make_world, one_torch_thread
from metarl.agents.sb3_training import (
    Draw,
    PPOUpdate,
    ScaledRewards,
    Whitened,
    check_rollout,
    collect,
    divergence_named,
    draw_episodes,
    has_lifetimes,
    ready,
    settings_of,
)
from metarl.agents.sources import is_gait
from metarl.training import Batch


class PPOTraining:
    """What the trainer asks of an algorithm, answered by Stable-Baselines3's PPO.

    Every iteration starts all simulations anew, each on a task of its own, and runs them for one horizon. Where the
    world's tasks follow a schedule, a simulation's task is that of a random episode of a random lifetime.

    Args:
        experiment: World and seed.
        config: PPO's settings.
        device: Where the policy lives.
        draw: Draws the tasks of training; unset, those of random episodes of lifetimes, or any.
    """

    trajectories = 20
    """Of each task in an evaluation, where nothing else is said."""
    methods = ("none", "tracking")
    """Ways to live a lifetime: by the trained policy throughout, or learning by PPO after every episode."""

    def __init__(
        self, experiment: Experiment, config: PPOConfig, device: torch.device, draw: Draw | None = None
    ):
        self.config = config
        self._draw = draw or (draw_episodes if config.lifetimes else draw_tasks)
        self._world = (experiment.world, config.horizon, experiment.world_options)
        self._evaluation_tasks = experiment.evaluation_tasks
        self.env = self._make_env(config.environments, autoreset=True)
        check_rollout(config.environments, self.env.horizon)
        self._sb3_env = ScaledRewards(self.env.as_sb3(), config.reward_scale)
        self.model = ready(
            PPO(
                "MlpPolicy",
                self._sb3_env,
                **settings_of(config, experiment.seed, device),
                n_steps=self.env.horizon,
                policy_kwargs={
                    "net_arch": list(config.hidden),
                    "features_extractor_class": Whitened,
                    "log_std_init": math.log(config.initial_std),
                },
            ),
            config.initial_action,
        )
        self.module = self.model.policy
        self.optimizer = (
            ImitationThenPPO(self.model, config.imitation)
            if is_gait(experiment.start_from)
            else PPOUpdate(self.model)
        )

    def _make_env(self, num_envs: int, *, autoreset: bool = False) -> VectorEnv:
        world, horizon, options = self._world
        like = getattr(self, "env", None)
        return make_world(world, num_envs, horizon, autoreset=autoreset, like=like, **options)

    def collect(self, rng: np.random.Generator) -> Batch:
        """One episode in every simulation, on freshly drawn train tasks."""
        self.env.set_task(self._draw(self.env, self.env.num_envs, "train", rng))
        self._sb3_env.seed(int(rng.integers(2**31)))
        self.optimizer.seed = int(rng.integers(2**31))
        batch = collect(self.model, self._sb3_env)
        batch.metrics["rollout/ep_rew_mean"] = float(self._sb3_env.returns.mean())
        batch.metrics["rollout/ep_len_mean"] = float(self._sb3_env.lengths.mean())
        return batch

    def loss(self, data: None) -> tuple[Tensor, dict[str, Any]]:
        """Not asked for: Stable-Baselines3 computes PPO's loss in its own minibatches (see `PPOUpdate`)."""
        raise RuntimeError("PPO's loss is computed by Stable-Baselines3 itself")

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Mean return on test tasks without adaptation, or of each episode of test lifetimes if the world has those."""
        if has_lifetimes(self.env):
            lifetimes = draw_lifetimes(self.env, self._evaluation_tasks, "test", rng)
            return lifetime_metrics(self.live(lifetimes, rng), lifetimes)
        tasks = draw_tasks(self.env, self._evaluation_tasks, "test", rng)
        return {"eval/return_0": float(self.returns_after_adapting(tasks, rng).mean())}

    def live(
        self,
        lifetimes: list[list[dict]],
        rng: np.random.Generator,
        method: str = "none",
        keep_actions: bool = False,
    ) -> Lives:
        """Live lifetimes side by side; see `metarl.agents.tracking.live`."""
        env = self._make_env(len(lifetimes))
        how = self.config.tracking if method == "tracking" else None
        try:
            return tracking.live(self.model, env, lifetimes, rng, how, keep_actions, self.config.reward_scale)
        finally:
            env.close()

    @divergence_named()
    @one_torch_thread()
    def returns_after_adapting(
        self,
        tasks: list[dict],
        rng: np.random.Generator,
        inner_steps: int = 0,
        trajectories: int | None = None,
    ) -> np.ndarray:
        """Mean undiscounted return of the stochastic policy on each task; this agent does not adapt.

        Returns:
            Shape (tasks, 1), whatever `inner_steps` is.
        """
        trajectories = trajectories or self.trajectories
        with closing(self._make_env(len(tasks) * trajectories)) as env:
            torch.manual_seed(int(rng.integers(2**31)))
            obs, _ = env.reset(
                seed=int(rng.integers(2**31)),
                options={"tasks": [task for task in tasks for _ in range(trajectories)]},
            )
            total = np.zeros(env.num_envs)
            for _ in range(env.horizon):
                action, _ = self.model.predict(obs)
                obs, reward, terminated, truncated, _ = env.step(action)
                total += reward
                if (terminated | truncated).all():
                    break
        return total.reshape(len(tasks), trajectories).mean(-1, keepdims=True)
