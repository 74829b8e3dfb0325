"""`metarl evaluate` and `metarl plot`: what a run came to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from metarl.commands.flags import parse
from metarl.configs import read_json
from metarl.runs import Run, runs_in


@dataclass(frozen=True)
class Evaluate:
    """How a run's agent is judged."""

    runs: Annotated[tuple[str, ...], Positional, arg(metavar="RUN")]
    """Folder of the run; with --lifetimes several, or folders that hold runs."""
    split: Literal["test", "train"] = "test"
    """Which tasks: kept apart from training, or those trained on."""
    inner_steps: int = 3
    """Inner steps after which the return is measured, from 0 on."""
    tasks: int | None = None
    """How many tasks; unset, 20, or all of a world that has fewer."""
    repeats: int = 10
    """Adaptations to each task, each from the trained parameters."""
    trajectories: int | None = None
    """Trajectories per inner step; unset, as in training."""
    seed: int = 0
    """Of the tasks and the trajectories."""
    lifetimes: int | None = None
    """Judge by the return of each episode of this many lifetimes, of each kind that the world has."""
    methods: tuple[str, ...] = ()
    """Ways to live a lifetime, e.g. adaptation none; unset, all that an agent has."""
    lifetime: str | None = None
    """Schedule of the lifetimes as JSON, e.g. '{"schedule": "drift", "episodes": 10}'; unset, the world's own."""
    out: str | None = None
    """Picture of the lifetimes; unset, lifetimes.png in the folder of the run, or in that which all runs share."""
    quiet: bool = False
    """Show no progress."""


@dataclass(frozen=True)
class Plot:
    """Which runs are drawn, and where to."""

    runs: Annotated[tuple[str, ...], Positional, arg(metavar="RUN...")]
    """Folders of runs, or folders that hold runs."""
    out: str = "curve.png"
    """The image; its suffix says the format (png, svg, pdf)."""
    kind: Literal["learning", "adaptation", "lifetimes"] = "learning"
    """Numbers against environment steps; or what `metarl evaluate` found, the return against inner steps or, with
    --lifetimes, against the episode."""
    tags: tuple[str, ...] = ()
    """What a learning curve shows, e.g. adapt/return_1; unset, the return before and after adaptation."""


def evaluate(arguments: list[str]) -> int:
    """Print the table of returns before and after adaptation; the scores stay in the run's folder."""
    purpose = (
        "Adapt a run's agent to tasks and print the return after 0, 1, ... inner steps, with 95% intervals; "
        "with --lifetimes let the agents of runs live through changing tasks, and compare them episode by episode."
    )
    options = parse(Evaluate, "metarl evaluate", arguments, purpose)
    if not options.runs:
        raise ValueError("evaluate needs a RUN, the folder that `metarl train` printed")
    if options.lifetimes is not None:
        for name in ("inner_steps", "tasks", "repeats", "trajectories"):
            if getattr(options, name) != getattr(Evaluate, name):
                raise ValueError(f"--{name.replace('_', '-')} goes without --lifetimes")
        from metarl.commands.lifetimes import evaluate_lifetimes

        return evaluate_lifetimes(options)
    _refuse_flags_of_lifetimes(options)

    from metarl.agents.experiments import open_run

    trained = open_run(options.runs[0])
    found = trained.evaluate(
        split=options.split,
        inner_steps=options.inner_steps,
        tasks=options.tasks,
        repeats=options.repeats,
        trajectories=options.trajectories,
        seed=options.seed,
        quiet=options.quiet,
    )
    print(f"{found.table()}\n")
    tell_of_shared_tasks(found.protocol)
    print(f"scores: {trained.path / 'evaluation.json'}")
    return 0


def tell_of_shared_tasks(protocol: Mapping[str, Any]) -> None:
    """Print that an evaluation's test tasks were trained on, where that is so."""
    if protocol.get("split") == "test" and protocol.get("disjoint") is False:
        print("note: the test tasks are those of training; this world keeps none apart\n")


def _refuse_flags_of_lifetimes(options: Evaluate) -> None:
    if len(options.runs) > 1:
        raise ValueError(
            f"got {len(options.runs)} runs, expected one; several can be judged by --lifetimes N"
        )
    for name in ("methods", "lifetime", "out"):
        if getattr(options, name):
            raise ValueError(f"--{name} goes with --lifetimes N")


def plot(arguments: list[str]) -> int:
    """Draw the curves and say where they lie."""
    options = parse(
        Plot, "metarl plot", arguments, "Draw learning curves of runs, or how their agents adapt."
    )
    if not options.runs:
        raise ValueError("plot needs a run, e.g. `metarl plot runs/CheetahDir-v0/promp`")

    if options.tags and options.kind != "learning":
        raise ValueError(f"--tags goes with --kind learning, got --kind {options.kind}")

    from metarl import plots

    if options.kind == "learning":
        print(plots.learning_curves(options.runs, options.out, tags=options.tags))
    elif options.kind == "lifetimes":
        from metarl.commands.lifetimes import plot_lifetimes

        print(plot_lifetimes(options.runs, options.out))
    else:
        runs = [run for folder in options.runs for run in runs_in(folder)]
        names = plots.names_of(runs) if len(runs) > 1 else [None]
        rows = [row for run, name in zip(runs, names, strict=True) for row in _adaptation_rows(run, name)]
        print(plots.adaptation_curve(rows, options.out, line="line"))
    return 0


def _adaptation_rows(run: Run, name: str | None) -> list[dict[str, Any]]:
    """What an evaluation of a run found, a line for each task; of one run among several, one line of that name."""
    stored = run.path / "evaluation.json"
    if not stored.exists():
        raise ValueError(f"{run.path} was not evaluated yet; first: metarl evaluate {run.path}")
    found = read_json(stored)
    if not isinstance(found, dict) or not isinstance(found.get("summary"), list):
        raise ValueError(f"{stored} is damaged: it has no summary; evaluate the run anew")
    rows = found["summary"]
    if not all("task" in row for row in rows):
        raise ValueError(f"{run.path} is a few-shot run, which has no adaptation curve: leave out --kind")
    if name is not None:
        line = f"{name}, seed {run.info.get('seed')}"
        return [{**row, "line": line} for row in rows if row["task"] == "all"]
    return [{**row, "line": row["task"]} for row in rows]
