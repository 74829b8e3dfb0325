"""`metarl fewshot evaluate`, `predict` and `features`: what a trained method can do."""

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from metarl.commands.flags import parse
from metarl.supervised.methods.config import Statistics


@dataclass(frozen=True)
class Evaluate:
    """How a run's method is judged."""

    run: Annotated[str, Positional, arg(metavar="RUN")] = ""
    """Folder of the run."""
    way: int | None = None
    """Classes of an episode; unset, as in the run's validation."""
    shot: int | None = None
    """Support images of each class; unset, as in the run's validation."""
    query: int = 15
    """Query images of each class."""
    episodes: int = 1_000
    """How many; equal numbers and seeds are equal episodes for all methods."""
    split: Literal["test", "validation", "train"] = "test"
    """Which classes: never seen, those the best state was chosen by, or those trained on."""
    statistics: tuple[Statistics, ...] = ()
    """By which images batch norm normalises; unset, as the method does, and transductively where that differs."""
    seed: int = 0
    """Of the episodes."""
    steps: tuple[int, ...] = ()
    """Numbers of inner steps, each judged by itself, for methods that adapt by them; unset, as the method does."""
    ensemble: int | None = None
    """How many of the best states in validation answer together, by the mean of their scores, for runs that keep them;
    unset, the best one alone."""
    quiet: bool = False
    """Show no progress."""


@dataclass(frozen=True)
class Predict:
    """What is learned from, and what is asked."""

    run: Annotated[str, Positional, arg(metavar="RUN")] = ""
    """Folder of the run."""
    support: str = ""
    """Folder that holds a folder of pictures for each class; a picture directly in it is a class of its own."""
    query: tuple[str, ...] = ()
    """Pictures to classify, or folders of them."""
    out: str | None = None
    """The contact sheet; unset, prediction.png in the run's folder."""
    statistics: Statistics | None = None
    """By which images batch norm normalises; unset, as the method does, and by the support where the method would look at
    all queries together."""


@dataclass(frozen=True)
class Features:
    """Whose features are written, of which pictures."""

    run: Annotated[str, Positional, arg(metavar="RUN")] = ""
    """Folder of the run, of a method whose features of a picture do not depend on the episode."""
    out: str = ""
    """Folder of the files, SPLIT.safetensors."""
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")
    """Which classes of the run's data; each split's file is written when it is done."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What convolutions multiply in."""
    quiet: bool = False
    """Show no progress."""


def evaluate(arguments: list[str]) -> int:
    """Print accuracies with intervals; those of every episode stay in the run's folder."""
    purpose = (
        "Let a run's method classify episodes of classes that it has not seen, and print its mean accuracy with the "
        "95% interval, in its own normalisation mode and in the transductive one."
    )
    options = parse(Evaluate, "metarl fewshot evaluate", arguments, purpose)
    if not options.run:
        raise ValueError("fewshot evaluate needs a RUN, the folder that `metarl fewshot train` printed")

    from metarl.supervised.runs import open_run

    trained = open_run(options.run)
    found = trained.evaluate(
        options.way,
        options.shot,
        options.query,
        options.episodes,
        options.split,
        options.statistics,
        options.seed,
        options.steps,
        options.ensemble,
        quiet=options.quiet,
    )
    print(found.table())
    if found.file is not None:
        print(f"\n{'errors' if trained.is_regression else 'accuracies'}: {found.file}")
    return 0


def predict(arguments: list[str]) -> int:
    """Print the most likely classes of each query, and draw the contact sheet."""
    purpose = "Learn classes from a folder of example pictures, and label other pictures."
    options = parse(Predict, "metarl fewshot predict", arguments, purpose)
    if not options.run or not options.support or not options.query:
        raise ValueError("fewshot predict needs RUN first, then --support DIR --query IMAGE..., see --help")

    from metarl.supervised.prediction import check_sheet
    from metarl.supervised.runs import open_run

    trained = open_run(options.run)
    out = check_sheet(options.out or trained.path / "prediction.png")
    found = trained.predict(options.support, options.query, statistics=options.statistics)
    print(found.table())
    print(f"\npicture: {found.sheet(out)}")
    return 0


def features(arguments: list[str]) -> int:
    """Write features of splits, and say what can be trained on them."""
    purpose = (
        "Write what a run's network makes of every picture of its data, normalised by stored averages: a folder that "
        "other methods can be trained on in place of the pictures."
    )
    options = parse(Features, "metarl fewshot features", arguments, purpose)
    if not options.run or not options.out:
        raise ValueError("fewshot features needs RUN --out DIR, see --help")

    from metarl.supervised.feature_extraction import write_features
    from metarl.supervised.runs import open_run

    out = options.out
    write_features(
        open_run(options.run), out, options.splits, precision=options.precision, quiet=options.quiet
    )
    if "train" in options.splits:
        print(f"train on them:  metarl fewshot train leo --data {shlex.quote(out)}")
    return 0
