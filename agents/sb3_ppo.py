"""Stable-Baselines3's PPO inside the suite's training loop: its rollouts, its loss, its optimiser; our run folder."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import ConvertCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from metarl.agents.experiment import Experiment
from metarl.agents.policies import ObservationNormalizer
from metarl.agents.ppo import PPOConfig
from metarl.agents.rollouts import draw_tasks, make_world
from metarl.training import Batch


class Whitened(BaseFeaturesExtractor):
    """Observations whitened by running statistics, which are buffers of the policy and so travel with it."""

    def __init__(self, observation_space: gymnasium.spaces.Box):
        super().__init__(observation_space, features_dim=observation_space.shape[0])
        self.normalizer = ObservationNormalizer(observation_space.shape[0])

    def forward(self, observations: Tensor) -> Tensor:
        """Shape (B, D) to (B, D)."""
        return self.normalizer(observations)


class PPOTraining:
    """What the trainer asks of an algorithm, answered by Stable-Baselines3's PPO.

    Every iteration starts all simulations anew, each on a task of its own, and runs them for one horizon; so nothing
    of the simulations has to be kept between iterations, and a resumed run goes on exactly.

    Args:
        experiment: World and seed.
        config: PPO's settings.
        device: Where the policy lives.
    """

    def __init__(self, experiment: Experiment, config: PPOConfig, device: torch.device):
        self.config = config
        self._world = (experiment.world, config.horizon, experiment.world_options)
        self._evaluation_tasks = experiment.evaluation_tasks
        self.env = make_world(
            experiment.world, config.environments, config.horizon, autoreset=True, **experiment.world_options
        )
        self._sb3_env = self.env.as_sb3()
        self.model = PPO(
            "MlpPolicy",
            self._sb3_env,
            learning_rate=config.lr,
            n_steps=self.env.horizon,
            batch_size=config.batch_size,
            n_epochs=config.epochs,
            gamma=config.discount,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip,
            ent_coef=config.entropy,
            policy_kwargs={"net_arch": list(config.hidden), "features_extractor_class": Whitened},
            seed=experiment.seed,
            device=device,
        )
        self.model.set_logger(Logger(None, []))
        self.model._setup_learn(1)
        self.module = self.model.policy
        self.optimizer = PPOUpdate(self.model)

    def collect(self, rng: np.random.Generator) -> Batch:
        """One episode in every simulation, on freshly drawn train tasks."""
        tasks = draw_tasks(self.env, self.env.num_envs, "train", rng)
        self.env.set_task(tasks)
        self._sb3_env.seed(int(rng.integers(2**31)))
        self.model._last_obs = self._sb3_env.reset()
        self.model._last_episode_starts = np.ones(self.env.num_envs, dtype=bool)
        self.optimizer.seed = int(rng.integers(2**31))
        callback = ConvertCallback(lambda *_: True)
        callback.init_callback(self.model)
        self.model.collect_rollouts(self._sb3_env, callback, self.model.rollout_buffer, self.env.horizon)
        buffer = self.model.rollout_buffer
        episodes = max(float(buffer.episode_starts.sum()), 1.0)
        metrics = {
            "rollout/ep_rew_mean": float(buffer.rewards.sum() / episodes),
            "rollout/ep_len_mean": buffer.rewards.size / episodes,
        }
        self._update_normalizer(torch.as_tensor(buffer.observations, dtype=torch.float64))
        return Batch(data=None, steps=int(buffer.rewards.size), metrics=metrics)

    def _update_normalizer(self, obs: Tensor) -> None:
        # After the rollout: its log-probabilities and values were computed with the statistics before.
        obs = obs.reshape(-1, obs.shape[-1]).to(self.module.device)
        count = torch.tensor(float(len(obs)), dtype=torch.float64)
        self.module.features_extractor.normalizer.update(count, obs.sum(0), obs.square().sum(0))

    def loss(self, data: None) -> tuple[Tensor, dict[str, Any]]:
        """Not asked for: Stable-Baselines3 computes PPO's loss in its own minibatches (see `PPOUpdate`)."""
        raise RuntimeError("PPO's loss is computed by Stable-Baselines3 itself")

    def evaluate(self, rng: np.random.Generator) -> dict[str, float]:
        """Mean return on test tasks, without adaptation."""
        tasks = draw_tasks(self.env, self._evaluation_tasks, "test", rng)
        return {"eval/return_0": float(self.returns_after_adapting(tasks, rng).mean())}

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
        world, horizon, options = self._world
        trajectories = trajectories or 20
        env = make_world(world, len(tasks) * trajectories, horizon, **options)
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
        env.close()
        return total.reshape(len(tasks), trajectories).mean(-1, keepdims=True)


class PPOUpdate:
    """The trainer's optimiser for `PPOTraining`: one call of Stable-Baselines3's `PPO.train`."""

    def __init__(self, model: PPO):
        self.model = model
        self.seed = 0

    def update(self, loss: Callable[[], Any]) -> dict[str, float]:
        """Minibatch epochs on the rollout buffer; `loss` is not called."""
        np.random.seed(self.seed)  # noqa: NPY002  the rollout buffer shuffles by numpy's global generator
        self.model.train()
        return {name: float(value) for name, value in self.model.logger.name_to_value.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments, by parameter number."""
        state = self.model.policy.optimizer.state_dict()["state"]
        return {
            f"{i}/{name}": torch.as_tensor(value)
            for i, entry in state.items()
            for name, value in entry.items()
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        optimizer = self.model.policy.optimizer
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            number, name = key.split("/")
            state.setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
