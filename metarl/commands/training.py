"""What `metarl train` and `metarl fewshot train` have in common: options, a run's config, and what is said at the end."""

import dataclasses
import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from metarl.commands.errors import say
from metarl.configs import read_json
from metarl.names import unknown


def options_of(experiment: type, config: Any, before: Any = None) -> type:
    """A dataclass of everything that can be set: the experiment's fields, those of the config, and `quiet`.

    Args:
        experiment: Class of the experiment.
        config: Settings of an agent or a method, the defaults of their flags.
        before: An experiment whose values are the defaults; None: the fields' own.
    """
    import tyro

    flat = tyro.conf.arg(name="")
    quiet = Annotated[bool, tyro.conf.arg(help="Show no progress.")]
    start: Any = dataclasses.field() if before is None else dataclasses.field(default=before)
    return dataclasses.make_dataclass(
        "Training",
        [
            ("experiment", Annotated[experiment, flat], start),
            ("config", Annotated[type(config), flat], dataclasses.field(default=config)),
            ("quiet", quiet, dataclasses.field(default=False)),
        ],
        frozen=True,
    )


def stored_config(path: str, kind: str, known: Iterable[str], asked: str | None) -> dict[str, Any]:
    """The content of a run's config.json.

    Args:
        path: The file, or the run's folder.
        kind: What was trained: "agent" or "method".
        known: All agents or methods.
        asked: The one that was asked for, if any.

    Raises:
        ValueError: It is no such file, or of another agent or method than the one asked for.
    """
    place = Path(path)
    found = read_json(place / "config.json" if place.is_dir() else place)
    other = {"agent": "method", "method": "agent"}[kind]
    if isinstance(found, dict) and other in found:
        verb = "fewshot train" if other == "method" else "train"
        raise ValueError(f"{path} is the config of another kind of run: use `metarl {verb} --config {path}`")
    if not isinstance(found, dict) or not {kind, "experiment", "config"} <= found.keys():
        raise ValueError(f"{path} is not the config of a run: it has no {kind}, experiment and config")
    if found[kind] not in known:
        raise ValueError(f"{path}: {unknown(kind, found[kind], known)}")
    if asked not in (None, found[kind]):
        raise ValueError(f"{path} is a config of '{found[kind]}', not of '{asked}'; leave out '{asked}'")
    return found


def reported(work: Callable[[], Any], what_next: Callable[[Any, str], list[str]], quiet: bool) -> int:
    """Train, then say what can be done with the run.

    Args:
        work: Trains.
        what_next: From what was trained, and its folder as a shell takes it, to lines that say what can be done.
        quiet: Whether the training said nothing: how to go on after a stop is said all the same.

    Returns:
        0; 130 if it was interrupted; 1 if it diverged.
    """
    from metarl.training import TrainingDiverged

    try:
        trained = work()
    except TrainingDiverged as error:
        say(str(error))
        return 1
    stopped = trained.run.info.get("reason") == "stopped"
    if os.environ.get("RANK", "0") == "0":
        path = shlex.quote(str(trained.path))
        if not stopped:
            print("\n".join([*what_next(trained, path), f"watch it:  metarl watch {path}"]))
        elif quiet:
            print(f"stopped; go on with: {trained.run.resume_command}")
    return 130 if stopped else 0
