"""Trajectories: what a policy does in a world, many tasks and many trajectories at once.

Legend: T tasks, B trajectories per task, H time steps, D observation size, A action size, N chunks, M memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor
from torch.func import functional_call

from metarl.agents.policies import GaussianPolicy, ObservationNormalizer, log_probability
from metarl.gradients import NonFinite


@dataclass
class Trajectories:
    """What was sampled with one set of policies, one per task.

    After an episode has ended, `mask` is 0 and the other entries mean nothing.
    """

    raw_obs: Tensor
    """Observations as the world gave them, shape (T, B, H, D), float64."""
    obs: Tensor
    """Observations as the policy saw them (whitened), shape (T, B, H, D)."""
    actions: Tensor
    """Actions as sampled, before the world clips them, shape (T, B, H, A)."""
    rewards: Tensor
    """Shape (T, B, H)."""
    mask: Tensor
    """1 for steps that belong to the episode, shape (T, B, H)."""
    mean: Tensor
    """Mean of the distribution that sampled, shape (T, B, H, A)."""
    log_std: Tensor
    """Its log standard deviation, shape (T, B, H, A)."""
    memory: Tensor | None = None
    """What a policy with memory remembered at the start of every chunk of steps, shape (T, B, N, M)."""
    last_memory: Tensor | None = None
    """And after the last step of the episode, shape (T, B, M)."""

    @property
    def log_probs(self) -> Tensor:
        """Log-probability of the actions under the policy that sampled, shape (T, B, H)."""
        return log_probability(self.actions, self.mean, self.log_std)

    def seen(self) -> dict[str, Tensor]:
        """What a policy needs to be judged on these actions: `obs`, and if it has one its `memory`."""
        return {"obs": self.obs} if self.memory is None else {"obs": self.obs, "memory": self.memory}

    def returns(self) -> Tensor:
        """Undiscounted return of every episode, shape (T, B)."""
        return (self.rewards * self.mask).sum(-1)

    def first_actions(self, horizon: int) -> np.ndarray:
        """Actions of each task's first trajectory, shape (T, horizon, A); 0 for steps that none got to."""
        done = self.actions[:, 0].cpu().numpy()
        return np.pad(done, ((0, 0), (0, horizon - done.shape[1]), (0, 0)))

    def task(self, index: int) -> "Trajectories":
        """The trajectories of one task, with the task axis kept (length 1)."""
        return self._joined([self], lambda x: x[index : index + 1])

    def tasks(self, rows: Tensor) -> "Trajectories":
        """The trajectories of some tasks, by number."""
        return self._joined([self], lambda x: x[rows])

    @classmethod
    def side_by_side(cls, several: Sequence["Trajectories"]) -> "Trajectories":
        """All trajectories of the same tasks together, along B; the shorter ones are filled up, masked."""

        def filled(x: Tensor, length: int) -> Tensor:
            missing = length - x.shape[2]
            return x if missing == 0 else torch.cat([x, x.new_zeros(*x.shape[:2], missing, *x.shape[3:])], 2)

        def beside(*parts: Tensor) -> Tensor:
            longest = max(x.shape[2] for x in parts)
            return torch.cat([filled(x, longest) for x in parts], 1)

        return cls._joined(several, beside)

    @classmethod
    def _joined(cls, several: Sequence["Trajectories"], function: Callable[..., Tensor]) -> "Trajectories":
        """Each field made by a function of that field of all; what a policy without memory lacks stays None."""
        columns = ([getattr(each, field.name) for each in several] for field in fields(cls))
        return cls(*(None if column[0] is None else function(*column) for column in columns))


def make_world(
    world: str,
    num_envs: int,
    horizon: int | None = None,
    *,
    autoreset: bool = False,
    like: VectorEnv | None = None,
    **options: Any,
) -> VectorEnv:
    """Many simulations of a world.

    Args:
        world: Gymnasium id of a world with tasks; `module:id` imports the module first.
        num_envs: Simulations.
        horizon: Steps of an episode; unset, the world's own.
        autoreset: Start the next episode in the step that ends one; else simulations stand still once theirs has ended.
        like: Another one of the same world, whose opponents it has in common where tasks are opponents.
        **options: Keyword arguments of the world.

    Raises:
        ValueError: The world has no tasks to adapt to.
    """
    if horizon is not None:
        options["horizon"] = horizon
    module, _, name = world.rpartition(":")
    if module:
        import_module(module)  # where the id is registered
    entry = gymnasium.spec(name).vector_entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    if not hasattr(creator, "sample_tasks"):
        raise ValueError(
            f"world '{world}' has no tasks to adapt to: its vector entry point must be a class with "
            "`sample_tasks(num, split, rng)`, `reset(options={'tasks': [...]})` and `horizon`, as metarl's worlds are"
        )
    env = gymnasium.make_vec(
        world,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP if autoreset else AutoresetMode.DISABLED,
        **options,
    )
    if hasattr(getattr(like, "tasks", None), "adopt"):
        env.unwrapped.tasks.adopt(like.tasks)
    return env.unwrapped


def draw_tasks(env: VectorEnv, num: int, split: str, rng: np.random.Generator) -> list[dict]:
    """Tasks of a split, balanced where the world has few: no task is drawn twice more often than another.

    Args:
        env: A world with tasks.
        num: How many.
        split: `train` or `test`.
        rng: Draws and shuffles.
    """
    every = finite_tasks(env, split)
    if every is None or len(every) > num:
        return env.sample_tasks(num, split=split, rng=rng)
    drawn = [
        task for _ in range(-(-num // len(every))) for task in rng.permutation(np.array(every, dtype=object))
    ]
    return drawn[:num]


def check_has_lifetimes(env: VectorEnv) -> None:
    """Make sure that a world's tasks can follow a schedule.

    Raises:
        ValueError: They cannot.
    """
    if not hasattr(env, "sample_lifetimes"):
        raise ValueError("this world has no lifetimes: its class has no `sample_lifetimes(num, split, rng)`")


def draw_lifetimes(env: VectorEnv, num: int, split: str, rng: np.random.Generator) -> list[list[dict]]:
    """Lifetimes of a split, balanced where there are few: none is drawn twice more often than another.

    Args:
        env: A world whose tasks follow a schedule.
        num: How many.
        split: `train` or `test`.
        rng: Draws and shuffles.

    Returns:
        For each lifetime a task per episode; or pairs of step and task, where tasks change within episodes.
    """
    check_has_lifetimes(env)
    try:
        every = env.enumerate_lifetimes(split)
    except ValueError:
        every = None
    if every is None or len(every) > num:
        return env.sample_lifetimes(num, split=split, rng=rng)
    rounds = (rng.permutation(len(every)) for _ in range(-(-num // len(every))))
    return [every[i] for order in rounds for i in order][:num]


def draw_pairs(
    env: VectorEnv, num: int, split: str, rng: np.random.Generator
) -> tuple[list[dict], list[dict]]:
    """Consecutive episodes of lifetimes: the tasks that are adapted on, and what comes next.

    Args:
        env: A world whose tasks follow a schedule.
        num: How many pairs, each of a lifetime of its own.
        split: `train` or `test`.
        rng: Draws the lifetimes and the place in each.

    Raises:
        ValueError: The lifetimes have one episode.
    """
    lifetimes = check_several(draw_lifetimes(env, num, split, rng))
    at = [int(rng.integers(len(each) - 1)) for each in lifetimes]
    return [each[i] for i, each in zip(at, lifetimes, strict=True)], [
        each[i + 1] for i, each in zip(at, lifetimes, strict=True)
    ]


def check_several(lifetimes: list[list[dict]]) -> list[list[dict]]:
    """Lifetimes to adapt in, as they are.

    Raises:
        ValueError: They have one episode, after which nothing comes that adaptation could help.
    """
    if len(lifetimes[0]) < 2:
        raise ValueError(
            "the lifetimes of this world have 1 episode, and adaptation comes after one: expected 2 or more, such as "
            """lifetime='{"schedule": "switch", "episodes": 3}'"""
        )
    return lifetimes


def finite_tasks(env: VectorEnv, split: str) -> list[dict] | None:
    """All tasks of a split, or None where they are infinitely many (or the world does not tell)."""
    distribution = getattr(env, "tasks", None)
    if distribution is None or not hasattr(distribution, "enumerate"):
        return None
    try:
        return distribution.enumerate(split)
    except ValueError:
        return None


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Leave the cores to the simulations: a small network's products are too small to be worth a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
@one_torch_thread()
def rollout(
    env: VectorEnv,
    policy: GaussianPolicy,
    params: dict[str, Tensor],
    normalizer: ObservationNormalizer,
    tasks: Sequence[dict],
    rngs: Sequence[np.random.Generator],
    deterministic: bool = False,
    seeds: Sequence[int] | None = None,
    memory: Tensor | None = None,
) -> Trajectories:
    """One episode per simulation, the simulations divided evenly among the tasks.

    Args:
        env: `num_envs = T * B` simulations, as `make_world` gives them.
        policy: Whose `forward` maps observations, and its memory if it has one, to a Gaussian.
        params: The policy's parameters, stacked over tasks: every tensor has a leading axis T.
        normalizer: Whitens observations.
        tasks: T tasks.
        rngs: T generators; all that is random about a task comes from its own.
        deterministic: Act by the mean.
        seeds: Of the initial states, T * B; unset, drawn from the generators.
        memory: What a policy with memory remembers from before, shape (T, B, M); unset, nothing.

    Returns:
        Trajectories on the policy's device.

    Raises:
        NonFinite: An action is no number.
    """
    T, H, B = len(tasks), env.horizon, env.num_envs // len(tasks)
    A = env.single_action_space.shape[0]
    device = next(iter(params.values())).device
    obs = _begun(env, tasks, rngs, seeds)
    noise_HTBA = _noise(rngs, (H, B, A), deterministic).to(device)
    alive = np.ones(env.num_envs, dtype=bool)
    remembered = policy.initial_memory(T, B) if memory is None else (memory,)
    at_chunks: list[Tensor] = []
    kept: list[tuple[Tensor, ...]] = []
    for step, noise_TBA in enumerate(noise_HTBA):
        raw_TBD = torch.from_numpy(obs.reshape(T, B, -1).copy()).to(device)
        seen_TBD = normalizer(raw_TBD)
        mean_TBA, log_std_TBA, *after = functional_call(policy, params, (seen_TBD, *remembered))
        if after:
            if step % policy.unroll == 0:
                at_chunks += remembered
            running_TB1 = torch.from_numpy(alive).reshape(T, B, 1).to(device)
            remembered = [torch.where(running_TB1, *pair) for pair in zip(after, remembered, strict=True)]
        action_TBA = mean_TBA + log_std_TBA.exp() * noise_TBA
        obs, reward, terminated, truncated, _ = env.step(_checked(action_TBA))
        rewards_TB = torch.from_numpy(np.asarray(reward, dtype=np.float32)).reshape(T, B)
        mask_TB = torch.from_numpy(alive.astype(np.float32)).reshape(T, B)
        kept.append((raw_TBD, seen_TBD, action_TBA, rewards_TB, mask_TB, mean_TBA, log_std_TBA))
        alive = alive & ~(terminated | truncated)
        if not alive.any():
            break
    sampled = [torch.stack(values, dim=2).to(device) for values in zip(*kept, strict=True)]
    if at_chunks:
        sampled += [torch.stack(at_chunks, dim=2), remembered[0]]
    return Trajectories(*sampled)


def _checked(action_TBA: Tensor) -> np.ndarray:
    """Actions as a world wants them, (T B, A)."""
    actions = action_TBA.flatten(0, 1).cpu().numpy()
    if np.isnan(actions).any():
        raise NonFinite("an action of the policy")
    return actions


def _begun(
    env: VectorEnv, tasks: Sequence[dict], rngs: Sequence[np.random.Generator], seeds: Sequence[int] | None
) -> np.ndarray:
    """First observations; initial states are drawn from the tasks' generators where no seeds are given."""
    B = env.num_envs // len(tasks)
    if seeds is None:
        seeds = [seed for rng in rngs for seed in rng.integers(2**31, size=B)]
    each = [task for task in tasks for _ in range(B)]
    obs, _ = env.reset(seed=[int(seed) for seed in seeds], options={"tasks": each})
    return obs


def _noise(rngs: Sequence[np.random.Generator], shape: tuple[int, int, int], deterministic: bool) -> Tensor:
    """Standard normal numbers, (H, T, B, A), each task's from its own generator; zeros to act by the mean."""
    drawn = np.stack([rng.standard_normal(shape, dtype=np.float32) for rng in rngs], axis=1)
    return torch.from_numpy(drawn * (not deterministic))
