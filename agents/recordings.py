"""Films of an agent at work: a task before and after adaptation side by side; a lifetime from its first episode on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from metarl.agents.agent import Agent
from metarl.agents.lifetimes import Lifetime, lifetime_text
from metarl.agents.lives import Lives, episode_seeds, tasks_of
from metarl.agents.rollouts import make_world
from metarl.videos import caption, check_suffix, side_by_side, task_text, write_video


def record_adaptation(
    agent: Agent,
    world: str,
    tasks: list[dict],
    out: str | Path,
    *,
    inner_steps: int = 1,
    seconds: float | None = None,
    seed: int = 0,
    horizon: int | None = None,
    world_options: dict[str, Any] | None = None,
) -> Path:
    """A video of each task in turn: left the policy before adaptation, right after it, the same start.

    Args:
        agent: Before adaptation.
        world: Id of the world.
        tasks: What to adapt to, one after the other.
        out: File, `.mp4` or `.gif`.
        inner_steps: Steps that adaptation takes, each on fresh trajectories.
        seconds: Length per task; unset, one episode.
        seed: Everything random follows from it.
        horizon: Steps of an episode; unset, the world's own.
        world_options: Keyword arguments of the world.

    Returns:
        The path of the file.
    """
    check_suffix(out)
    options = world_options or {}
    sampler = make_world(world, agent.config.sampling.trajectories, horizon, **options)
    try:
        pairs = [(task, agent, adapted_to(agent, sampler, task, inner_steps, seed)) for task in tasks]
    finally:
        sampler.close()
    if horizon is not None:
        options = {**options, "horizon": horizon}
    env = gymnasium.make(world, render_mode="rgb_array", **options)
    fps = env.metadata["render_fps"]
    try:
        frames = _frames(
            env, pairs, inner_steps, seed, None if seconds is None else max(1, round(seconds * fps))
        )
        return write_video(out, frames, fps)
    finally:
        env.close()


def adapted_to(agent: Agent, sampler: Any, task: dict, inner_steps: int, seed: int) -> Agent:
    """The agent after that many inner steps on a task."""
    for step in range(inner_steps):
        agent = agent.adapt(agent.sample(sampler, task, seed=seed + step))
    return agent


def record_lifetime(
    algorithm: Any,
    lifetime: Lifetime,
    world: str,
    out: str | Path,
    *,
    method: str,
    title: str = "",
    seconds: float | None = None,
    seed: int = 0,
    world_options: dict[str, Any] | None = None,
) -> Path:
    """One video of a lifetime, episode after episode, as the agent lives it.

    It lives first, then its actions are replayed from the same starts, which gives the same states.

    Args:
        algorithm: The agent, with its trained parameters.
        lifetime: The task of each episode.
        world: Id of the world.
        out: File, `.mp4` or `.gif`.
        method: How it lives.
        title: First words of the caption.
        seconds: How much of each episode is shown; unset, all of it.
        seed: Everything random follows from it.
        world_options: Keyword arguments of the world.

    Returns:
        The path of the file.
    """
    check_suffix(out)
    seeds = episode_seeds(np.random.default_rng(seed), 1, len(lifetime))[:, 0].tolist()
    lives = algorithm.live([lifetime], np.random.default_rng(seed), method, keep_actions=True)
    options = {**(world_options or {}), "horizon": algorithm.env.horizon, "render_mode": "rgb_array"}
    env = gymnasium.make(world, disable_env_checker=True, **options)
    fps = env.metadata["render_fps"]
    limit = None if seconds is None else max(1, round(seconds * fps))
    name = getattr(getattr(algorithm.env, "tasks", None), "name", None)
    captions = lifetime_captions(lifetime, title, name)
    try:
        shown = replayed(env, lifetime, seeds, lives, limit)
        return write_video(out, (_told(picture, captions, lives, *where) for picture, *where in shown), fps)
    finally:
        env.close()


def replayed(
    env: Any, lifetime: Lifetime, seeds: Sequence[int], lives: Lives, limit: int | None = None
) -> Iterator[tuple[np.ndarray, int, float]]:
    """The pictures of a lived lifetime.

    Args:
        env: One simulation that gives pictures.
        lifetime: The task of each episode.
        seeds: Of the episodes.
        lives: Of that lifetime alone, with its actions.
        limit: Steps of each episode that are shown; the rest is only stepped through.

    Yields:
        Picture, episode from 0, its last step from 0 (before the first one 0 too), and return so far.
    """
    for episode, (task, seed) in enumerate(zip(lifetime, seeds, strict=True)):
        env.reset(seed=seed, options={"task": task})
        total, done, steps = 0.0, False, 0
        yield env.render(), episode, 0, total
        while not done:
            _, reward, terminated, truncated, _ = env.step(lives.actions[0, episode, steps])
            total, done, steps = total + float(reward), terminated or truncated, steps + 1
            if limit is None or steps <= limit:
                yield env.render(), episode, steps - 1, total
        lived = lives.returns[0, episode]
        assert np.isclose(total, lived, rtol=1e-4, atol=1e-3), f"replayed {total}, lived {lived}"


def lifetime_captions(
    lifetime: Lifetime, title: str = "", name: Callable[[dict], str] | None = None
) -> list[list[tuple[int, str]]]:
    """What is told of each episode: its number, what the lifetime is about, and the numbers of its task that change.

    Returns:
        For each episode and each of its tasks the step at which the task begins, and the text.
    """
    about, courses = lifetime_text(lifetime, name), [tasks_of(episode) for episode in lifetime]
    every = [task for course in courses for _, task in course]
    unlike = [key for key in every[0] if any(task[key] != every[0][key] for task in every)]

    def text(number: int, task: dict) -> str:
        changing = {key: task[key] for key in unlike}
        now = f"{about}, {task_text(changing)}" if changing else about
        return f"{title}   episode {number} of {len(lifetime)}".strip() + f"\n{now}"

    return [[(begin, text(i, task)) for begin, task in course] for i, course in enumerate(courses, start=1)]


def _told(
    picture: np.ndarray,
    captions: list[list[tuple[int, str]]],
    lives: Lives,
    episode: int,
    step: int,
    total: float,
) -> np.ndarray:
    told = [text for begin, text in captions[episode] if begin <= step][-1]
    before = " ".join(f"{each:.0f}" for each in lives.returns[0, :episode][-6:])
    earlier = f"   earlier: {before}" if before else ""
    text = f"{told}\nreturn so far {total:.0f}{earlier}"
    return caption(picture, text, size=max(12, picture.shape[0] // 24))


def _frames(env: Any, pairs: list, inner_steps: int, seed: int, limit: int | None) -> Iterator[np.ndarray]:
    after = f"after {inner_steps} inner step{'s' * (inner_steps != 1)}"
    for task, *agents in pairs:
        told = ", ".join(
            f"{name} {np.round(value, 2)}" for name, value in task.items() if np.size(value) <= 3
        )
        episodes = [list(_episode(env, agent, task, seed, limit)) for agent in agents]
        for pair in zip(*_padded(episodes), strict=True):
            pictures = [
                caption(picture, f"{text}   {told}\nreturn so far {total:.0f}")
                for text, (picture, total) in zip(("before adaptation", after), pair, strict=True)
            ]
            yield side_by_side(*pictures)


def _padded(episodes: list[list]) -> list[list]:
    longest = max(len(each) for each in episodes)
    return [each + [each[-1]] * (longest - len(each)) for each in episodes]


def _episode(
    env: Any, agent: Agent, task: dict, seed: int, limit: int | None
) -> Iterator[tuple[np.ndarray, float]]:
    obs, _ = env.reset(seed=seed, options={"task": task})
    total, done, steps, state = 0.0, False, 0, None
    yield env.render(), total
    while not done and (limit is None or steps < limit):
        action, state = agent.predict(obs, state, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, done, steps = total + float(reward), terminated or truncated, steps + 1
        yield env.render(), total
