"""`metarl fewshot train`: train a method anew, from another run's config, or go on with a run."""

import argparse
import dataclasses
from typing import Any

from metarl.commands.flags import parse, wants_help
from metarl.commands.training import options_of, reported, stored_config
from metarl.configs import from_dict
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
    if seen.resume is not None:
        if method is not None:
            raise ValueError(f"--resume goes on with a run as it was: leave out '{method}'")
        return _resume(arguments)
    if method is None and seen.config is None:
        raise ValueError(
            "fewshot train needs a method as its first word, e.g. `metarl fewshot train prototypical --data "
            f"omniglot`; methods: {', '.join(METHODS)}"
        )
    if method is not None and method not in METHODS:
        raise unknown("method", method, METHODS)
    kept = None if seen.config is None else stored_config(seen.config, "method", METHODS, method)
    method = method or str(kept and kept["method"])
    if kept is None:
        way, shot = (_number(getattr(seen, name), usual) for name, usual in (("way", 5), ("shot", 1)))
        before, config = None, preset(method, seen.data or "omniglot", way, shot)
    else:
        before = from_dict(FewShotExperiment, kept["experiment"], where="experiment")
        config = preset(method, before.data, before.way, before.shot)
        config = from_dict(type(config), kept["config"], where="config")
    options = options_of(FewShotExperiment, config, before)
    options = parse(options, f"metarl fewshot train {method}", without_config, f"{METHODS[method]}.")

    from metarl.supervised import runs

    return reported(
        lambda: runs.train(method, options.experiment, options.config, quiet=options.quiet),
        _what_next,
        options.quiet,
    )


def _resume(arguments: list[str]) -> int:
    purpose = "Go on with a run from its newest checkpoint."
    options = parse(Resume, "metarl fewshot train", arguments, purpose)

    from metarl.supervised import runs

    return reported(
        lambda: runs.resume(options.resume, episodes=options.episodes, quiet=options.quiet),
        _what_next,
        options.quiet,
    )


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


def _number(text: str | None, usual: int) -> int:
    """A number, or the usual one; what is wrong with the text is said once all flags are read."""
    return int(text) if text and text.isdecimal() else usual


def _what_next(trained: Any, path: str) -> list[str]:
    """How a run can be judged and asked."""
    judge = f"judge it:  metarl fewshot evaluate {path}"
    ask = f"ask it:    metarl fewshot predict {path} --support DIR --query IMAGE"
    return [judge, ask] if trained.labels_pictures else [judge]
