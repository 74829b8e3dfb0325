"""The demonstration: an agent that was trained before, in seconds; then meta-train one, and see what adaptation does.

The agent's body can run forward and backward, and nothing that it observes says which is wanted. Meta-training makes it
ready for both; it finds out by acting, and a few inner steps on the rewards turn it into a runner. The agent that comes
with the package shows it at once, the one that is trained here after minutes.
"""

import shlex
import time
from dataclasses import replace
from pathlib import Path

from metarl.agents import preset
from metarl.agents.evaluation import Evaluation
from metarl.agents.experiment import Experiment
from metarl.agents.experiments import AgentRun, resume, train
from metarl.agents.zoo import pretrained
from metarl.configs import refuse_below
from metarl.videos import SUFFIXES, check_suffix

AGENT = "meta-sgd"
WORLD = "metarl/CheetahDir-v0"
STEPS = 2_000_000
"""Environment steps of the training, if the time is enough."""
SECONDS = 150.0
"""Training stops about then on a slower machine."""
TASKS, TRAJECTORIES = 2, 20
"""The world has two tasks; both are in every batch, with this many trajectories each."""
INNER_STEPS = 3
REPEATS = 10
"""Adaptations to each direction, which the intervals come from."""
FILM_SECONDS = 3.0
"""Of each direction."""
SHIPPED = "cheetah-dir"
"""The trained agent that is looked at first."""
LOOKS = 3
"""Its adaptations to each direction."""
FIRST_LOOK = 40_000
"""Environment steps that the machine's speed is measured by."""


def run(out: str = "runs/demo", steps: int | None = None, seconds: float | None = None, seed: int = 1) -> int:
    """Train, evaluate, plot and film; everything is printed or lies in `out`.

    Args:
        out: Folder of the run and of `adaptation.png` and `before-and-after.mp4`.
        steps: Environment steps of the training; unset, `STEPS`.
        seconds: Bound on the training's time; unset, `SECONDS`, or none if `steps` is given.
        seed: Of training and evaluation.

    Returns:
        0, or 130 if training was interrupted.
    """
    refuse_below({"steps": 1, "seed": 0}, {"steps": steps, "seed": seed})
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds={seconds}, expected more than 0")
    if seconds is None:
        seconds = SECONDS if steps is None else float("inf")
    folder = Path(out)
    opening(folder, seed)
    say(
        "2  Meta-training",
        "Half of the tasks want the body to run forward, half backward. It is not told which.",
    )
    trained = meta_train(out, STEPS if steps is None else steps, seconds, seed)
    if trained.run.info["reason"] == "stopped":
        return 130
    say(
        "3  Adapting",
        f"Return before and after inner steps, {REPEATS} adaptations each: middle [95 % interval]",
    )
    found = trained.evaluate(inner_steps=INNER_STEPS, repeats=REPEATS, seed=seed, quiet=True)
    print(readable(found))
    say("4  Pictures", "")
    print(f"plot:   {trained.plot(folder / 'adaptation.png')}")
    print(f"video:  {film(trained, folder / 'before-and-after', seed)}")
    say("What next", "")
    print(next_steps(trained.path, out))
    return 0


def opening(folder: Path, seed: int) -> None:
    """Let the trained agent of the package adapt: a table, a plot, a video."""
    shipped = pretrained(SHIPPED, folder / "pretrained")
    say(
        "1  A trained agent",
        f"It comes with the package, after {shipped.experiment.steps:,} steps. Return before and after inner steps:",
    )
    found = shipped.evaluate(inner_steps=INNER_STEPS, repeats=LOOKS, seed=seed, quiet=True)
    print(readable(found))
    print(f"plot:   {shipped.plot(folder / 'trained-agent.png')}", flush=True)
    print(f"video:  {film(shipped, folder / 'trained-agent', seed)}", flush=True)


def readable(found: Evaluation) -> str:
    """The table of an evaluation, its tasks in words."""
    return found.table().replace("direction -1", "backward    ").replace("direction 1", "forward    ")


def meta_train(out: str, steps: int, seconds: float, seed: int) -> AgentRun:
    """Train for that many steps, or for about that many seconds, whichever is over first."""
    config = preset(AGENT)
    config = replace(config, sampling=replace(config.sampling, tasks=TASKS, trajectories=TRAJECTORIES))
    first = min(steps, FIRST_LOOK)
    experiment = Experiment(
        world=WORLD, steps=first, seed=seed, out=out, evaluate_every=0, checkpoint_every=25
    )
    start = time.perf_counter()
    trained = train(AGENT, experiment, config, quiet=True)
    speed = first / (time.perf_counter() - start)
    if trained.run.info["reason"] == "stopped" or first == steps:
        return trained
    enough = int(min(steps, max(first, speed * seconds)))
    print(f"{speed:,.0f} steps/s on this machine: {enough:,} steps, about {enough / speed:.0f} s", flush=True)
    return resume(trained.path, steps=enough)


def film(trained: AgentRun, path: Path, seed: int) -> Path | str:
    """The video, as GIF where mp4 cannot be written; a sentence where nothing can be drawn.

    Args:
        trained: The agent.
        path: Of the video, without suffix.
        seed: Of what is shown.
    """
    for suffix in SUFFIXES:
        try:
            check_suffix(f"clip{suffix}")
        except ImportError:
            continue
        try:
            return trained.render(path.with_suffix(suffix), inner_steps=1, seconds=FILM_SECONDS, seed=seed)
        except Exception as error:  # OpenGL fails in many ways, none of which should hide the table
            return f"could not be drawn: {error}"
    return "could not be written"


def next_steps(path: Path, out: str) -> str:
    """Commands to look closer and to go on."""
    run, out = shlex.quote(str(path)), shlex.quote(out)
    commands = {
        f"metarl watch {out}": "curves in TensorBoard",
        f"metarl train --resume {run} --steps {3 * STEPS}": "train on",
        f"metarl evaluate {run} --inner-steps 5": "adapt further",
        "metarl list": "other worlds and agents",
        f"metarl train {AGENT} --help": "everything that can be set",
    }
    width = max(map(len, commands))
    where = "(once: source .venv/bin/activate)\n" if Path(".venv").is_dir() else ""
    return where + "\n".join(f"{command:<{width}}   {purpose}" for command, purpose in commands.items())


def say(title: str, text: str) -> None:
    """A heading and a sentence."""
    print(f"\n{title}\n{'-' * len(title)}" + (f"\n{text}" if text else ""), flush=True)
