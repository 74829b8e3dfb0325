"""A meta-policy in a lifetime: act, adapt from the meta-parameters on the last episodes, act in the next task.

Algorithm 2 of Al-Shedivat et al. 2018 (arXiv 1710.03641). Every update starts from the same parameters: the episodes
in the buffer were sampled by the policies that earlier updates gave, which importance weights allow for (eq. 9).

Legend: T lifetimes side by side, B episodes in the buffer, H time steps.
"""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from metarl.agents.configs import MetaPolicyGradient
from metarl.agents.estimators import effective_sample_size, importance_weights, masked_mean
from metarl.agents.lives import Lives, Watched, episode_seeds
from metarl.agents.policies import ObservationNormalizer, kl_divergence, log_probability
from metarl.agents.policy_adaptation import PolicyAdaptation, Valued, chosen_by_task, policy_params
from metarl.agents.rollouts import Trajectories, rollout

Params = dict[str, Tensor]

CHUNK = 64
"""Lifetimes that are adapted in one go: bounds the memory."""
COLLAPSED = 1.5
"""An effective sample size below this is warned of, if it could be twice as large."""


@dataclass
class Episode:
    """One episode of T lifetimes, and the adaptation before it."""

    lived: Trajectories
    """What was done, (T, 1, H)."""
    params: Params
    """By what parameters, every tensor with a leading axis T."""
    support: list[Valued] = field(default_factory=list)
    """What each inner step before it was taken on; empty if there was none."""
    measures: dict[str, np.ndarray] = field(default_factory=dict)
    """Numbers of the adaptation, and what the world tells (see `metarl.agents.lives.Tally`), (T,) each."""


def adapt_to_buffer(
    adaptation: PolicyAdaptation,
    start: Params,
    buffer: Trajectories,
    config: MetaPolicyGradient,
    groups: Tensor | None = None,
) -> tuple[Params, list[Valued], dict[str, np.ndarray]]:
    """The inner loop on episodes that other policies sampled.

    Args:
        adaptation: Whose inner steps are taken, as many as in training.
        start: Meta-parameters, every tensor with a leading axis T.
        buffer: The last episodes of each lifetime, (T, B, H).
        config: Steps, valuation and importance weights.
        groups: Number of the task of every episode, (T, B): what a task's episodes are worth is seen beside one another,
            not beside those of harder tasks. Unset, they are all of one task.

    Returns:
        Adapted parameters (where they or what they do are not finite, the starting ones); what each inner step was taken
        on, weights among it; and by name, of shape (T,): `effective_sample_size` of the buffer under the starting
        parameters and `inner_kl`, mean KL divergence of the adapted policy from the starting one on the buffer.
    """
    parts = []
    for rows in torch.arange(len(buffer.mask)).split(CHUNK):
        chunk = buffer.tasks(rows)
        params = {name: value[rows] for name, value in start.items()}
        parts.append(
            _adapt_chunk(adaptation, params, chunk, config, None if groups is None else groups[rows])
        )
    adapted = {name: torch.cat([each[0][name] for each in parts]) for name in start}
    support = [
        {name: torch.cat([each[1][step][name] for each in parts]) for name in parts[0][1][step]}
        for step in range(config.inner.steps)
    ]
    measures = {
        name: torch.cat([each[2][name] for each in parts]).cpu().double().numpy() for name in parts[0][2]
    }
    return adapted, support, measures


def _adapt_chunk(
    adaptation: PolicyAdaptation,
    start: Params,
    buffer: Trajectories,
    config: MetaPolicyGradient,
    groups: Tensor | None,
) -> tuple[Params, list[Valued], dict[str, Tensor]]:
    settings, params, support = config.execution, start, []
    sampled = buffer.log_probs
    before = _distribution(adaptation, start, buffer)
    size = effective_sample_size(log_probability(buffer.actions, *before) - sampled, buffer.mask)
    for step in range(config.inner.steps):
        valued = adaptation.value_tasks(params, buffer, config.sampling, groups)
        now = before if step == 0 else _distribution(adaptation, params, buffer)
        # The weights alone tell who sampled: the surrogate is to see no other policy than the one it improves.
        valued["log_probs"] = log_probability(buffer.actions, *now)
        log_ratio = valued["log_probs"] - sampled
        valued["weights"] = importance_weights(log_ratio, buffer.mask, settings.importance, settings.clip)
        params = adaptation.step_tasks(params, valued, step)
        support.append(valued)
    params = chosen_by_task(adaptation.finite(params, support[-1]), params, start)
    divergence = kl_divergence(*before, *_distribution(adaptation, params, buffer))
    return (
        params,
        support,
        {
            "effective_sample_size": size,
            "inner_kl": torch.vmap(masked_mean)(divergence, buffer.mask),
        },
    )


@torch.no_grad()
def _distribution(
    adaptation: PolicyAdaptation, params: Params, buffer: Trajectories
) -> tuple[Tensor, Tensor]:
    return torch.vmap(adaptation.distribution)(params, buffer.seen())


def episodes(
    adaptation: PolicyAdaptation,
    normalizer: ObservationNormalizer,
    start: Params,
    env: VectorEnv,
    lifetimes: Sequence[Sequence[dict]],
    seeds: np.ndarray,
    rngs: Sequence[np.random.Generator],
    config: MetaPolicyGradient,
    adapting: bool = True,
) -> Iterator[Episode]:
    """Live lifetimes side by side, one simulation each, in training and at execution alike.

    Args:
        adaptation: The inner loop.
        normalizer: Whitens observations.
        start: Meta-parameters, every tensor with a leading axis T.
        env: T simulations, as `metarl.agents.rollouts.make_world` gives them.
        lifetimes: T equally long lists of tasks.
        seeds: Of the initial states, shape (episodes, T).
        rngs: T generators, which the actions follow from.
        config: How to adapt.
        adapting: Whether to adapt at all.

    Yields:
        Every episode, the first one without an adaptation before it.
    """
    buffer: deque[tuple[Trajectories, Sequence[dict]]] = deque(maxlen=config.execution.buffer)
    watched, memory = Watched(env), None
    for number, tasks in enumerate(zip(*lifetimes, strict=True)):
        params, support, measures = start, [], {}
        if buffer and adapting:
            several, tasks_of = zip(*buffer, strict=True)
            together = Trajectories.side_by_side(several)
            groups = _groups(tasks_of).to(together.mask.device)
            params, support, measures = adapt_to_buffer(adaptation, start, together, config, groups)
        policy = policy_params(params)
        lived = rollout(
            watched, adaptation.policy, policy, normalizer, tasks, rngs, seeds=seeds[number], memory=memory
        )
        if config.policy.memory == "lifetime":
            memory = lived.last_memory
        measures |= watched.measures()
        buffer.append((lived, tasks))
        yield Episode(lived, params, support, measures)


def _groups(tasks: Sequence[Sequence[dict]]) -> Tensor:
    """Which of B episodes of T lifetimes have the same task: the number of the first one that has it, (T, B)."""
    courses = [[str(task) for task in course] for course in zip(*tasks, strict=True)]
    return torch.tensor([[course.index(task) for task in course] for course in courses])


def live(
    adaptation: PolicyAdaptation,
    normalizer: ObservationNormalizer,
    start: Params,
    env: VectorEnv,
    lifetimes: Sequence[Sequence[dict]],
    rng: np.random.Generator,
    config: MetaPolicyGradient,
    adapting: bool = True,
    keep_actions: bool = False,
) -> Lives:
    """Live lifetimes side by side, one simulation each.

    Args:
        adaptation: The inner loop.
        normalizer: Whitens observations.
        start: Meta-parameters, every tensor with a leading axis T.
        env: T simulations, as `metarl.agents.rollouts.make_world` gives them.
        lifetimes: T equally long lists of tasks.
        rng: Initial states and actions follow from it.
        config: How to adapt.
        adapting: Whether to adapt at all.
        keep_actions: Whether to return the actions too.

    Returns:
        Returns of all episodes, what the world tells of them (see `metarl.agents.lives.Tally`), and the measures of
        `adapt_to_buffer`, which come of the update before an episode, so that the first has none (NaN). Actions after
        the end of an episode are 0.
    """
    shape = (len(lifetimes), len(lifetimes[0]))
    returns, actions = np.zeros(shape), []
    measures: dict[str, np.ndarray] = {}
    seeds, rngs = episode_seeds(rng, *shape), rng.spawn(shape[0])
    course = episodes(adaptation, normalizer, start, env, lifetimes, seeds, rngs, config, adapting)
    for number, episode in enumerate(course):
        returns[:, number] = episode.lived.returns()[:, 0].cpu().numpy()
        for name, value in episode.measures.items():
            measures.setdefault(name, np.full(shape, np.nan))[:, number] = value
        if keep_actions:
            actions.append(episode.lived.first_actions(env.horizon))
    _warn_of_collapse(measures.get("effective_sample_size"), config)
    return Lives(returns, measures, np.stack(actions, axis=1) if keep_actions else None)


def _warn_of_collapse(sizes: np.ndarray | None, config: MetaPolicyGradient) -> None:
    kind = config.execution.importance
    if sizes is None or sizes.shape[1] < 3 or config.execution.buffer < 3 or kind in ("step", "none"):
        return
    if np.nanmean(sizes[:, min(3, sizes.shape[1] - 1) :]) < COLLAPSED:
        warnings.warn(
            f"importance weights have collapsed: fewer than {COLLAPSED} of {config.execution.buffer} episodes count; "
            "execution.importance='step' or 'none', or smaller inner steps, use all of them",
            stacklevel=3,
        )
