"""Which lifetimes an agent is judged by, and how it lives them.

Legend: G groups of lifetimes (e.g. the pair of legs that fails), L lifetimes of each, E episodes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from metarl.agents import lives as living
from metarl.agents.dashboard import lifetimes_layout
from metarl.agents.lifetime_evaluation import ALL, LifetimeEvaluation
from metarl.agents.lives import Lives
from metarl.agents.rollouts import check_has_lifetimes
from metarl.names import unknown
from metarl.progress import Progress
from metarl.runs import Run, arrange
from metarl.videos import task_text

Lifetime = list[Any]
"""The task of each episode; where tasks change within one, pairs of the step at which a task begins and the task."""
METHOD_WORDS = {"none": "not adapting"}
"""What ways to live are called beside an agent's name, where it is not by their own."""
MOST_GROUPS = 15
"""Where there are more different lifetimes than this, some are drawn instead of taking each."""
AT_ONCE = 25
"""Lifetimes lived side by side; between two such parts there is a sign of progress."""


def judge(
    run: Run,
    algorithm: Any,
    protocol: dict[str, Any],
    lifetimes: int = 50,
    split: str = "test",
    methods: Sequence[str] | None = None,
    seed: int = 0,
    *,
    quiet: bool = False,
) -> LifetimeEvaluation:
    """Live through lifetimes by several methods, all of which start alike.

    Args:
        run: Below it TensorBoard gets to see the lives.
        algorithm: The agent, with its trained parameters.
        protocol: What is known about it: `agent`, `world`, ...
        lifetimes: How many of each that there is, or in all where they are drawn.
        split: `train` or `test`.
        methods: Ways to live; unset, all that the agent has.
        seed: Lifetimes, starts and actions follow from it.
        quiet: Show no progress.
    """
    if lifetimes < 1:
        raise ValueError(f"lifetimes={lifetimes}, expected 1 or more")
    chosen = check_methods(algorithm, methods)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x74696D65]))
    names, groups = choose_lifetimes(algorithm.env, lifetimes, split, rng)
    found = live_and_log(run, algorithm, names, groups, chosen, seed, quiet)
    labels = {method: method_label(protocol["agent"], method, algorithm.methods) for method in chosen}
    protocol = protocol | {
        "split": split,
        **split_of(algorithm.env),
        "lifetimes": lifetimes,
        "methods": list(chosen),
        "seed": seed,
    }
    scores = {labels[method]: lives.returns for method, lives in found.items()}
    measures = {labels[method]: lives.measures for method, lives in found.items()}
    return LifetimeEvaluation(scores, names, protocol, measures)


def split_of(env: VectorEnv) -> dict[str, Any]:
    """What a protocol says of a world's split: its hash, and whether no test task is a task of training."""
    tasks = getattr(env, "tasks", None)
    return {name: getattr(tasks, name, None) for name in ("split_hash", "disjoint")}


def choose_lifetimes(
    env: VectorEnv, num: int, split: str, rng: np.random.Generator
) -> tuple[list[str], list[list[Lifetime]]]:
    """Lifetimes to judge an agent by: `num` of each that there is, or `num` drawn where they are too many.

    Args:
        env: A world.
        num: How many.
        split: `train` or `test`.
        rng: Draws.

    Returns:
        Names of the groups, and the lifetimes of each group.

    Raises:
        ValueError: The world has no schedule of lifetimes.
    """
    every = finite_lifetimes(env, split)
    if every is None or len(every) > MOST_GROUPS:
        return [ALL], [env.sample_lifetimes(num, split=split, rng=rng)]
    name = getattr(getattr(env, "tasks", None), "name", None)
    return [lifetime_text(each, name) for each in every], [[each] * num for each in every]


def finite_lifetimes(env: VectorEnv, split: str) -> list[Lifetime] | None:
    """Every lifetime of a split, or None where they are infinitely many.

    Raises:
        ValueError: The world has no schedule of lifetimes.
    """
    check_has_lifetimes(env)
    try:
        env.sample_lifetimes(1, split=split, rng=np.random.default_rng(0))
    except ValueError as error:
        how = """on the command line --lifetime '{"schedule": "redraw", "episodes": 10}'"""
        raise ValueError(f"{error}; {how}") from None
    try:
        return env.enumerate_lifetimes(split)
    except ValueError:
        return None


def choose_lifetime(
    env: VectorEnv, task: dict[str, Any] | None, rng: np.random.Generator, split: str = "test"
) -> Lifetime:
    """One lifetime: the first of a split, or the first whose tasks agree with what is known of them.

    Args:
        env: A world.
        task: Some or all entries that every task of the lifetime shall have, e.g. {"legs": [3, 4]}.
        rng: Draws, where the lifetimes are infinitely many.
        split: `train` or `test`; with `task` any.

    Raises:
        ValueError: No lifetime agrees, or the world has no schedule.
    """
    every = finite_lifetimes(env, split if task is None else "all")
    if every is None:
        every = env.sample_lifetimes(1, split=split, rng=rng)
        if task is not None:
            raise ValueError(
                f"the lifetimes of this world are drawn and cannot be chosen by a task, got {task}"
            )
    known = (task or {}).items()
    for lifetime in every:
        tasks = [each for episode in lifetime for _, each in living.tasks_of(episode)]
        if all(each.get(key) == value for each in tasks for key, value in known):
            return lifetime
    names = ", ".join(lifetime_text(each) for each in every)
    raise ValueError(f"no lifetime has the task {task}; there are: {names}")


def lifetime_groups(env: VectorEnv) -> list[str] | None:
    """Names of the test lifetimes as they stand in tags: none if they are many, None if there are no lifetimes."""
    try:
        every = finite_lifetimes(env, "test")
    except ValueError:
        return None
    names = [living.label(each) for each in every or ()]
    return list(dict.fromkeys(names)) if all(names) and len(names) <= MOST_GROUPS else []


def lifetime_text(lifetime: Lifetime, name: Callable[[dict], str] | None = None) -> str:
    """What stays the same in a lifetime, or from where to where it leads; and what the world calls it.

    Args:
        lifetime: Tasks.
        name: From a task to its name, which may be empty.
    """
    (_, first), (_, last) = living.tasks_of(lifetime[0])[0], living.tasks_of(lifetime[-1])[-1]
    text = living.label(lifetime) or f"{task_text(first)} to {task_text(last)}"
    called = name(first) if name else ""
    return f"{text}: {called}" if called else text


def method_label(agent: str, method: str, methods: Sequence[str]) -> str:
    """What an agent is called when it lives in a certain way: its name alone if that is its own way."""
    return agent if method == methods[0] else f"{agent}, {METHOD_WORDS.get(method, method)}"


def check_methods(algorithm: Any, methods: Sequence[str] | None) -> tuple[str, ...]:
    """The ways to live that were asked for, or all that the agent has.

    Raises:
        ValueError: One of them is unknown, or the agent cannot live through lifetimes.
    """
    if not hasattr(algorithm, "live"):
        raise ValueError("this agent cannot live through lifetimes: it has no `live(lifetimes, rng, method)`")
    for method in methods or ():
        if method not in algorithm.methods:
            raise unknown("method", method, algorithm.methods)
    return tuple(methods) if methods else tuple(algorithm.methods)


def live_in_parts(
    algorithm: Any, groups: Sequence[list[Lifetime]], method: str, seed: int
) -> Iterator[tuple[int, Lives]]:
    """Live all lifetimes, a part of one group at a time; the same seed starts every method alike.

    Yields:
        The group's number, and the lives of a part of it.
    """
    for number, lifetimes in enumerate(groups):
        for start in range(0, len(lifetimes), AT_ONCE):
            rng = np.random.default_rng(np.random.SeedSequence([seed, 0x6C697665, number, start]))
            yield number, algorithm.live(lifetimes[start : start + AT_ONCE], rng, method)


def joined(parts: Sequence[Lives]) -> Lives:
    """Lives of several parts as one."""
    shared = set.intersection(*(set(part.measures) for part in parts))
    return Lives(
        np.concatenate([part.returns for part in parts]),
        {
            name: np.concatenate([part.measures[name] for part in parts])
            for name in parts[0].measures
            if name in shared
        },
    )


def live_and_log(
    run: Run,
    algorithm: Any,
    names: Sequence[str],
    groups: Sequence[list[Lifetime]],
    methods: Sequence[str],
    seed: int,
    quiet: bool = False,
) -> dict[str, Lives]:
    """Live all lifetimes by each method, and show the returns in TensorBoard as they come.

    What is logged stands below the run, in `lifetimes/<method>`, with the episode as the x axis.

    Args:
        run: Where to.
        algorithm: The agent, with its trained parameters.
        names: Of the groups.
        groups: The lifetimes of each group, equally many.
        methods: Ways to live.
        seed: Everything random follows from it.
        quiet: Show no progress.

    Returns:
        By method the lives; returns and measures have shape (G, L, E).
    """
    total = len(methods) * sum(map(len, groups)) * len(groups[0][0]) * algorithm.env.horizon
    tags = [name.partition(":")[0] for name in names]
    found = {}
    with Progress(f"lifetimes of {run.info.get('agent')}", total, quiet=quiet) as progress:
        progress.start(0)
        for method in methods:
            with run.board(f"lifetimes/{method}") as board:
                parts = _told(live_in_parts(algorithm, groups, method, seed), progress, algorithm.env.horizon)
                found[method] = _live_groups(parts, groups, tags, board)
    return found


def _told(
    parts: Iterator[tuple[int, Lives]], progress: Progress, horizon: int
) -> Iterator[tuple[int, Lives]]:
    """Pass the parts on, telling how far it is."""
    for number, lives in parts:
        first, last = (float(lives.returns[:, e].mean()) for e in (0, -1))
        now = {"lifetime/return_1": first, f"lifetime/return_{lives.returns.shape[1]}": last}
        progress.update(progress.step + lives.returns.size * horizon, now)
        yield number, lives


def _live_groups(
    parts: Iterator[tuple[int, Lives]], groups: Sequence[list[Lifetime]], tags: Sequence[str], board: Any
) -> Lives:
    """All lives of a method, (G, L, E); each group is logged when it is done, all together at the end."""
    several = len(groups) > 1
    lived: list[list[Lives]] = [[] for _ in groups]
    for number, part in parts:
        if not any(lived):
            arrange(board, lifetimes_layout(tags if several else (), list(part.measures)))
        lived[number].append(part)
        if several and sum(len(each.returns) for each in lived[number]) == len(groups[number]):
            _log(board, joined(lived[number]), f"lifetime/{tags[number]}/")
    together = joined([joined(each) for each in lived])
    _log(board, together, "lifetime/")
    shape = (len(groups), len(groups[0]), -1)
    measures = {name: values.reshape(shape) for name, values in together.measures.items()}
    return Lives(together.returns.reshape(shape), measures)


def _log(board: Any, lives: Lives, prefix: str) -> None:
    """The mean of each episode, at the episode's number."""
    for name, values in {"return": lives.returns, **lives.measures}.items():
        for episode, value in enumerate(values.mean(axis=0), start=1):
            if np.isfinite(value):
                board.add_scalar(f"{prefix}{name}", float(value), episode)
    board.flush()
