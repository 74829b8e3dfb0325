"""`metarl evaluate --lifetimes`: agents compared episode by episode, while their world changes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl.commands.flags import json_mapping
from metarl.commands.runs import tell_of_shared_tasks
from metarl.runs import runs_in


def evaluate_lifetimes(options: Any) -> int:
    """Let each run's agent live, then print one table and draw one picture of all of them.

    Args:
        options: `metarl.commands.runs.Evaluate`.
    """
    from metarl.agents.experiments import AgentRun
    from metarl.agents.games import by_quarters, episodes_per_round, games_won
    from metarl.agents.lifetime_evaluation import summary, table
    from metarl.lifetime_plots import lifetime_curves
    from metarl.plots import check_picture

    schedule = None if options.lifetime is None else json_mapping(options.lifetime, "--lifetime")
    trained = [AgentRun(run) for folder in options.runs for run in runs_in(folder)]
    for each in trained:  # before hours of work for the others
        each.run.newest_checkpoint()
    out = check_picture(options.out or shared_folder([each.path for each in trained]) / "lifetimes.png")
    found = [
        each.evaluate_lifetimes(
            options.lifetimes,
            options.split,
            options.methods or None,
            options.seed,
            lifetime=schedule,
            quiet=options.quiet,
        )
        for each in trained
    ]
    rows = summary(found)
    print(f"return by episode: mean [95 % interval]\n\n{table(rows)}\n")
    per_round = episodes_per_round(found[0].protocol.get("schedule"))
    if per_round is not None:
        quarters = table(summary([by_quarters(each, per_round) for each in found]), "quarter of the game")
        print(f"share of rounds won: mean [95 % interval]\n\n{quarters}\n")
        for label, share in (pair for each in found for pair in games_won(each, per_round).items()):
            print(
                f"games of {label}: {', '.join(f'{100 * part:.0f} % {how}' for how, part in share.items())}"
            )
        print()
    tell_of_shared_tasks(found[0].protocol)
    for each in trained:
        print(f"scores: {each.path / 'lifetimes.json'}")
    world = str(trained[0].experiment.world).removeprefix("metarl/")
    print(f"plot:   {lifetime_curves(rows, out, title=world)}")
    return 0


def plot_lifetimes(folders: Sequence[str], out: str | Path) -> Path:
    """Draw again what `metarl evaluate --lifetimes` found of runs, one by one or together.

    Raises:
        ValueError: A run was not evaluated yet, or they cannot be compared.
    """
    from metarl.agents.lifetime_evaluation import read, summary
    from metarl.lifetime_plots import lifetime_curves

    places = [run.path for folder in folders for run in runs_in(folder)]
    for place in places:
        if not (place / "lifetimes.json").exists():
            raise ValueError(f"{place} was not evaluated yet; first: metarl evaluate {place} --lifetimes 50")
    return lifetime_curves(summary([read(place / "lifetimes.json") for place in places]), out)


def shared_folder(paths: list[Path]) -> Path:
    """The run's folder if there is one run, else the innermost folder that holds all of them."""
    return Path(os.path.commonpath([path.resolve() for path in paths])) if len(paths) > 1 else paths[0]
