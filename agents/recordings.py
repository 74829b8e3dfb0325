"""Pictures of an agent at work: the same task before and after adaptation, side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from metarl.agents.agent import Agent
from metarl.agents.rollouts import make_world
from metarl.videos import caption, side_by_side, write_video


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
    total, done, steps = 0.0, False, 0
    yield env.render(), total
    while not done and (limit is None or steps < limit):
        action, _ = agent.predict(obs, deterministic=True)
        obs, reward, terminated, truncated, _ = env.step(action)
        total, done, steps = total + float(reward), terminated or truncated, steps + 1
        yield env.render(), total
