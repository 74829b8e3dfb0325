"""`metarl fewshot evaluate` and `metarl fewshot predict`: what a trained method can do."""

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
    """By which images batch norm normalises; unset, as the method does."""


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
    )
    print(found.table())
    print(f"\naccuracies: {trained.path / 'evaluation.json'}")
    return 0


def predict(arguments: list[str]) -> int:
    """Print the most likely classes of each query, and draw the contact sheet."""
    purpose = "Learn classes from a folder of example pictures, and label other pictures."
    options = parse(Predict, "metarl fewshot predict", arguments, purpose)
    if not options.run or not options.support or not options.query:
        raise ValueError("fewshot predict needs RUN --support DIR --query IMAGE..., see --help")

    from metarl.supervised.prediction import check_sheet
    from metarl.supervised.runs import open_run

    trained = open_run(options.run)
    out = check_sheet(options.out or trained.path / "prediction.png")
    found = trained.predict(options.support, options.query, statistics=options.statistics)
    print(found.table())
    print(f"\npicture: {found.sheet(out)}")
    return 0
