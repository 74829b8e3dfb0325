"""`metarl fewshot train`: train a method anew, from another run's config, or go on with a run."""

import argparse
import dataclasses
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from metarl.commands.errors import say
from metarl.commands.flags import parse, wants_help
from metarl.configs import from_dict, read_json
from metarl.names import unknown
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods import METHODS, preset

HELP = """usage: metarl fewshot train METHOD --data NAME [--way N] [--shot N] [--episodes N] [flags of the method]
       metarl fewshot train --config RUN/config.json [flags that differ]
       metarl fewshot train --resume RUN [--episodes N]

Train a few-shot method on a data set's training classes; the state with the highest accuracy on validation classes is
kept. `metarl fewshot train METHOD --help` lists every flag of that method, `metarl fewshot list` the data sets.

methods:"""


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest checkpoint."""

    resume: str
    """Folder of the run."""
    episodes: int | None = None
    """Episodes to train on in all; unset, as many as the run was meant to have."""
    quiet: bool = False
    """Show no progress."""


def train(arguments: list[str]) -> int:
    """Train, and say where the run lies and what can be done with it."""
    method = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if method is None and wants_help(arguments):
        width = max(map(len, METHODS), default=0)
        print("\n".join([HELP, *(f"  {name:<{width}}   {purpose}" for name, purpose in METHODS.items())]))
        return 0
    flags = arguments if method is None else arguments[1:]
    seen, without_config = _glance(flags)
    if method is None and seen.resume is not None:
        return _resume(arguments)
    if method is None and seen.config is None:
        raise ValueError(
            "fewshot train needs a method as its first word, e.g. `metarl fewshot train prototypical --data "
            f"omniglot`; methods: {', '.join(METHODS)}"
        )
    if method is not None and method not in METHODS:
        raise unknown("method", method, METHODS)
    kept = None if seen.config is None else _stored(seen.config, method)
    method = method or str(kept and kept["method"])
    options = parse(
        _options(method, kept, seen), f"metarl fewshot train {method}", without_config, f"{METHODS[method]}."
    )

    from metarl.supervised import runs

    return _report(lambda: runs.train(method, options.experiment, options.config, quiet=options.quiet))


def _resume(arguments: list[str]) -> int:
    purpose = "Go on with a run from its newest checkpoint."
    options = parse(Resume, "metarl fewshot train", arguments, purpose)

    from metarl.supervised import runs

    return _report(lambda: runs.resume(options.resume, episodes=options.episodes, quiet=options.quiet))


def _glance(flags: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What must be known before all flags can be: whose defaults they have. And the flags without `--config`."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("config", "resume", "data", "way", "shot"):
        early.add_argument(f"--{name}", nargs="?", const="")
    seen, _ = early.parse_known_args(flags)
    for name, example in (("config", "RUN/config.json"), ("resume", "RUN")):
        if getattr(seen, name) == "":
            raise ValueError(f"--{name} needs a path, e.g. --{name} {example}")
    only = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    only.add_argument("--config")
    return seen, only.parse_known_args(flags)[1]


def _options(method: str, kept: dict[str, Any] | None, seen: argparse.Namespace) -> type:
    """A dataclass of everything that can be set: the experiment's fields, then the method's own.

    The method's defaults are those for the data, ways and shots that were asked for.
    """
    import tyro

    experiment: Any = dataclasses.field()
    if kept is not None:
        before = from_dict(FewShotExperiment, kept["experiment"], where="experiment")
        experiment = dataclasses.field(default=before)
        config = preset(method, before.data, before.way, before.shot)
        config = from_dict(type(config), kept["config"], where="config")
    else:
        way, shot = (_number(getattr(seen, name), usual) for name, usual in (("way", 5), ("shot", 1)))
        config = preset(method, seen.data or "omniglot", way, shot)
    flat = tyro.conf.arg(name="")
    quiet = Annotated[bool, tyro.conf.arg(help="Show no progress.")]
    return dataclasses.make_dataclass(
        "Training",
        [
            ("experiment", Annotated[FewShotExperiment, flat], experiment),
            ("config", Annotated[type(config), flat], dataclasses.field(default=config)),
            ("quiet", quiet, dataclasses.field(default=False)),
        ],
        frozen=True,
    )


def _number(text: str | None, usual: int) -> int:
    """A number, or the usual one; what is wrong with the text is said once all flags are read."""
    return int(text) if text and text.isdecimal() else usual


def _stored(path: str, method: str | None) -> dict[str, Any]:
    """The content of a run's config.json.

    Raises:
        ValueError: It is no such file, or of another method than the one asked for.
    """
    place = Path(path)
    kept = read_json(place / "config.json" if place.is_dir() else place)
    if not isinstance(kept, dict) or not {"method", "experiment", "config"} <= kept.keys():
        raise ValueError(
            f"{path} is not the config of a few-shot run: it has no method, experiment and config"
        )
    if kept["method"] not in METHODS:
        raise unknown("method", kept["method"], METHODS)
    if method is not None and method != kept["method"]:
        raise ValueError(f"{path} is a config of '{kept['method']}', not of '{method}'; leave out '{method}'")
    return kept


def _report(work: Callable[[], Any]) -> int:
    """Train, then say what can be done with the run.

    Returns:
        0; 130 if it was interrupted; 1 if it diverged.
    """
    from metarl.training import TrainingDiverged

    try:
        trained = work()
    except TrainingDiverged as error:
        say(str(error))
        return 1
    main = os.environ.get("RANK", "0") == "0"
    path = shlex.quote(str(trained.path))
    if trained.run.info.get("reason") == "stopped":
        if main:
            print(f"go on:     metarl fewshot train --resume {path}")
        return 130
    if main:
        print(f"judge it:  metarl fewshot evaluate {path}")
        if trained.labels_pictures:
            print(f"ask it:    metarl fewshot predict {path} --support DIR --query IMAGE")
        print(f"watch it:  metarl watch {path}")
    return 0
