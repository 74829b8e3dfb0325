"""What every learner of Stable-Baselines3 needs to run inside the suite's training loop.

Its rollouts, its loss and its optimiser do the work; ours are the run folder, the seeds and the worlds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.callbacks import ConvertCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor

from metarl.agents.policies import ObservationNormalizer
from metarl.agents.rollouts import draw_lifetimes, draw_tasks, one_torch_thread
from metarl.gradients import NonFinite
from metarl.training import Batch

EPOCHS = "epochs"
"""What the number of epochs is called in an optimiser's state."""
Draw = Callable[[VectorEnv, int, str, np.random.Generator], list[dict]]
"""Draws tasks of a split: `draw(env, num, split, rng)`."""


class ScaledRewards(VecEnvWrapper):
    """Rewards times a factor, so that values are of a size that networks learn well.

    Args:
        venv: Any worlds.
        scale: The factor.

    Attributes:
        returns: Of the first episode in each world since the last reset, as far as it has come, as the worlds gave the
            rewards, (n,).
        lengths: Its steps, (n,).
    """

    def __init__(self, venv: VecEnv, scale: float):
        super().__init__(venv)
        self.scale = scale

    def reset(self) -> np.ndarray:
        """As the worlds do."""
        self.returns, self.lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._first = np.ones(self.num_envs, np.bool_)
        return self.venv.reset()

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """As the worlds do, but for the rewards."""
        obs, rewards, done, infos = self.venv.step_wait()
        self.returns[self._first] += rewards[self._first]
        self.lengths += self._first
        self._first &= ~done
        return obs, rewards * np.float32(self.scale), done, infos


class Whitened(BaseFeaturesExtractor):
    """Observations whitened by running statistics, which are buffers of the policy and so travel with it."""

    def __init__(self, observation_space: gymnasium.spaces.Box):
        super().__init__(observation_space, features_dim=observation_space.shape[0])
        self.normalizer = ObservationNormalizer(observation_space.shape[0])

    def forward(self, observations: Tensor) -> Tensor:
        """Shape (B, D) to (B, D)."""
        return self.normalizer(observations)


def settings_of(config: Any, seed: int, device: str | torch.device) -> dict[str, Any]:
    """What every learner is told, as Stable-Baselines3 names it.

    Args:
        config: Of PPO, with memory or without.
        seed: Of the experiment.
        device: Where it learns.
    """
    return {
        "learning_rate": config.lr,
        "batch_size": config.batch_size,
        "n_epochs": config.epochs,
        "gamma": config.discount,
        "gae_lambda": config.gae_lambda,
        "clip_range": config.clip,
        "target_kl": config.target_kl,
        "ent_coef": config.entropy,
        "seed": seed % 2**32,
        "device": device,
    }


@contextmanager
def divergence_named() -> Iterator[None]:
    """Says what diverged where torch refuses a distribution whose mean or standard deviation is no number.

    Raises:
        NonFinite: It is refused.
    """
    try:
        yield
    except ValueError as error:
        if "of distribution Normal" not in str(error):
            raise
        raise NonFinite("mean or standard deviation of the policy's actions") from error


def check_rollout(environments: int, steps: int) -> None:
    """Refuse rollouts of one step, whose advantages have no spread to be divided by.

    Raises:
        ValueError: They are.
    """
    if environments * steps < 2:
        raise ValueError(
            f"environments={environments} with {steps} step in each gives rollouts of 1 step, expected 2 or more: "
            "raise --environments or --horizon"
        )


def ready(model: OnPolicyAlgorithm, initial_action: Sequence[float] = ()) -> OnPolicyAlgorithm:
    """A learner that logs nowhere by itself and need not be told to `learn`.

    Args:
        model: The learner.
        initial_action: Mean of its actions before it has learned anything, (A,); of length 0, about 0.

    Raises:
        ValueError: The world has another number of actions.
    """
    if initial_action:
        bias = model.policy.action_net.bias
        if len(initial_action) != len(bias):
            raise ValueError(
                f"initial_action has {len(initial_action)} numbers, expected {len(bias)}, one for each action"
            )
        with torch.no_grad():
            bias.copy_(torch.tensor(initial_action))
    model.set_logger(Logger(None, []))
    model._setup_learn(1)
    return model


@divergence_named()
@one_torch_thread()
def collect(model: OnPolicyAlgorithm, env: VecEnv) -> Batch:
    """Fill the learner's rollout buffer, all simulations starting anew; then take in the observations' statistics.

    Nothing of the simulations has to be kept between two calls, so a resumed run goes on exactly.

    Args:
        model: The learner.
        env: Its worlds, seeded and with their tasks set.

    Raises:
        NonFinite: What the policy does is no number.
    """
    model._last_obs = env.reset()
    model._last_episode_starts = np.ones(env.num_envs, dtype=bool)
    callback = ConvertCallback(lambda *_: True)
    callback.init_callback(model)
    model.collect_rollouts(env, callback, model.rollout_buffer, model.n_steps)
    # After the rollout: its log-probabilities and values were computed with the statistics before.
    obs = torch.as_tensor(model.rollout_buffer.observations, dtype=torch.float64, device=model.device)
    obs = obs.reshape(-1, obs.shape[-1])
    count = torch.tensor(float(len(obs)), dtype=torch.float64)
    for part in model.policy.modules():
        if isinstance(part, ObservationNormalizer):
            part.update(count, obs.sum(0), obs.square().sum(0))
    return Batch(data=None, steps=len(obs), metrics={})


def has_lifetimes(env: VectorEnv) -> bool:
    """Whether a world's tasks follow a schedule."""
    if not hasattr(env, "sample_lifetimes"):
        return False
    try:
        env.sample_lifetimes(1, split="train", rng=np.random.default_rng(0))
    except ValueError:
        return False
    return True


def draw_episodes(env: VectorEnv, num: int, split: str, rng: np.random.Generator) -> list[dict]:
    """Tasks for single episodes, as agents will meet them.

    Args:
        env: A world with tasks; if they follow a schedule, each task is that of a random episode of a lifetime.
        num: How many.
        split: `train` or `test`.
        rng: Draws.
    """
    if not has_lifetimes(env):
        return draw_tasks(env, num, split, rng)
    return [life[int(rng.integers(len(life)))] for life in draw_lifetimes(env, num, split, rng)]


@contextmanager
def shuffling(seed: int) -> Iterator[None]:
    """Seeds numpy's global generator, by which rollout buffers shuffle, and leaves it as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


class PPOUpdate:
    """The trainer's optimiser: one call of the learner's own `train`."""

    def __init__(self, model: OnPolicyAlgorithm):
        self.model = model
        self.seed = 0

    @divergence_named()
    @one_torch_thread()
    def update(self, loss: Callable[[], Any]) -> dict[str, float]:
        """Minibatch epochs on the rollout buffer; `loss` is not called.

        Raises:
            NonFinite: The policy diverged in one of them.
        """
        with shuffling(self.seed):
            self.model.train()
        return {name: float(value) for name, value in self.model.logger.name_to_value.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Adam's moments, by parameter number, and how many epochs there were."""
        state = self.model.policy.optimizer.state_dict()["state"]
        moments = {
            f"{i}/{name}": torch.as_tensor(value)
            for i, entry in state.items()
            for name, value in entry.items()
        }
        return moments | {EPOCHS: torch.tensor(self.model._n_updates)}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        optimizer = self.model.policy.optimizer
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key == EPOCHS:
                self.model._n_updates = int(tensor)
                continue
            number, name = key.split("/")
            state.setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
