"""`metarl render`: a video of an agent before and after it adapts or in a lifetime, or of a world."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

from tyro.conf import Positional, arg

from metarl.commands.flags import json_mapping, optional_json, parse, world_id

SCHEDULE = """'{"schedule": "drift", "episodes": 10}'"""


@dataclass(frozen=True)
class Render:
    """What is shown, and where to."""

    run: Annotated[str | None, Positional, arg(metavar="[RUN]")] = None
    """Folder of a run: its agent, before and after it adapts."""
    world: str | None = None
    """A world instead of a run: it is shown with random actions."""
    out: str | None = None
    """The video, .mp4 or .gif; unset, in the run's folder, and on the screen for a world."""
    inner_steps: int = 1
    """Inner steps between before and after (runs only)."""
    task: str | None = None
    """The task as JSON, e.g. '{"direction": -1}'; unset, sampled. Of a lifetime what its tasks share, e.g.
    '{"legs": [3, 4]}'; unset, the first test lifetime."""
    lifetime: Annotated[str | None, optional_json(SCHEDULE)] = None
    """Show a lifetime of the run's agent: every episode, while the task changes. A schedule may follow as JSON, e.g.
    '{"schedule": "drift", "episodes": 10}'; else the world's own."""
    method: str | None = None
    """How the agent lives a lifetime, e.g. none; unset, in its own way."""
    seconds: float | None = None
    """Length, of a lifetime that of each episode; unset, one whole episode."""
    seed: int = 0
    """Of task, world and actions."""


def render(arguments: list[str]) -> int:
    """Write or show the video, and say where it lies."""
    purpose = "Film an agent before and after it adapts, an agent in a lifetime, or a world."
    options = parse(Render, "metarl render", arguments, purpose)
    if options.run is None and options.lifetime and not options.lifetime.lstrip().startswith("{"):
        options = replace(options, run=options.lifetime, lifetime="")  # as in `metarl render --lifetime RUN`
    if (options.run is None) == (options.world is None):
        raise ValueError("render takes a run or --world ID, one of the two")
    if options.seconds is not None and not 0 < options.seconds < math.inf:
        raise ValueError(f"--seconds {options.seconds}, expected more than 0")
    task = None if options.task is None else json_mapping(options.task, "--task")
    if options.lifetime is None and options.method is not None:
        raise ValueError("--method goes with --lifetime")
    if options.inner_steps != Render.inner_steps and not (options.lifetime is None and options.world is None):
        raise ValueError("--inner-steps goes without --lifetime and --world: they show no before and after")
    if options.world is not None:
        if options.lifetime is not None:
            raise ValueError("--lifetime shows a run's agent; name a run instead of --world")
        return _render_world(options, world_id(options.world), task)

    from metarl.agents.experiments import open_run

    trained = open_run(str(options.run))
    if options.lifetime is not None:
        print(_render_lifetime(trained, options, task))
        return 0
    out = options.out or trained.run.videos / f"before-and-after_s{options.seed}.mp4"
    path = trained.render(
        out, inner_steps=options.inner_steps, task=task, seconds=options.seconds, seed=options.seed
    )
    print(path)
    return 0


def _render_lifetime(trained: Any, options: Render, task: dict[str, Any] | None) -> Any:
    name = f"lifetime{f'-{options.method}' if options.method else ''}_s{options.seed}.mp4"
    return trained.render_lifetime(
        options.out or trained.run.videos / name,
        method=options.method,
        task=task,
        lifetime=json_mapping(options.lifetime, "--lifetime") if options.lifetime else None,
        seconds=options.seconds,
        seed=options.seed,
    )


def _render_world(options: Render, world: str, task: dict[str, Any] | None) -> int:
    from metarl import videos

    if options.out is not None:
        videos.check_suffix(options.out)
    mode = "human" if options.out is None else "rgb_array"
    frames, fps = film_world(world, task, options.seconds, options.seed, mode)
    if options.out is not None:
        print(videos.write_video(options.out, frames, fps))
    return 0


def film_world(
    world: str, task: dict[str, Any] | None, seconds: float | None, seed: int, mode: str
) -> tuple[list[Any], float]:
    """One episode or more of a world under random actions.

    Args:
        world: Gymnasium id.
        task: What to reset to; unset, a task sampled at every reset.
        seconds: Length; unset, one episode.
        seed: Of everything random.
        mode: Gymnasium's render mode, `rgb_array` or `human`.

    Returns:
        Captioned frames, uint8 (height, width, 3) (none in human mode), and frames per second.
    """
    import gymnasium
    import numpy as np

    from metarl import videos

    env = gymnasium.make(world, render_mode=mode)
    try:
        fps = env.metadata.get("render_fps", 20)
        length = None if seconds is None else max(1, round(seconds * fps))
        env.action_space.seed(seed)
        rng = np.random.default_rng(seed)
        frames, shown, over = [], 0, True
        while length is None or shown < length:
            if over:
                if shown and length is None:
                    break
                now = _task(env, task, rng)
                env.reset(seed=None if shown else seed, options=None if now is None else {"task": now})
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over, shown = terminated or truncated, shown + 1
            frame: Any = env.render()
            if mode == "rgb_array":
                frames.append(frame if now is None else videos.caption(frame, videos.task_text(now)))
        return frames, fps
    finally:
        env.close()


def _task(env: Any, task: dict[str, Any] | None, rng: Any) -> dict[str, Any] | None:
    if not hasattr(env.unwrapped, "sample_tasks"):
        if task is not None:
            raise ValueError(f"{env.spec.id} has no tasks: leave out --task")
        return None
    if task is not None:
        return task
    return env.unwrapped.sample_tasks(1, split="train", rng=rng)[0]
