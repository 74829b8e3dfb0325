"""The demonstration: train a few-shot method on generated drawings, judge it on new classes, ask it about pictures."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import load, reference
from metarl.supervised.evaluation import percent
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.methods import preset
from metarl.supervised.runs import train
from metarl.tables import markdown_table

DATA = "strokes"
FLOOR = "nearest-centroid"
"""The method that compares pixels: what is better than it has learned something."""
WAY, SHOT = 5, 1
TRAINING_WAY, TRAINING_QUERY = 10, 5
JUDGED_BY = ((5, 1), (5, 5), (10, 1))
"""Ways and shots of the judgement; the method was trained for the first."""
TEST_EPISODES = 200
SHOTS, QUERIES = 3, 8
"""Example pictures of each class, and pictures to label."""


def run(out: str, method: str, episodes: int, seed: int) -> int:
    """Train, judge, ask.

    Args:
        out: Folder of the results.
        method: What is trained.
        episodes: Episodes to train on.
        seed: Of training, and of the pictures that are asked about.

    Returns:
        0, or 130 if training was interrupted.
    """
    planned = _planned(out, method, episodes, seed)  # refused, if it is, before anything is said
    say("1  Training", f"Episodes of {TRAINING_WAY} classes of drawings, {SHOT} example of each.")
    trained = train(method, *planned)
    if trained.run.info["reason"] == "stopped":
        return 130
    say("2  Judging", f"Classes never seen in training, {TEST_EPISODES} episodes each: accuracy in per cent")
    print(_judged(trained, out, seed))
    say(
        "3  Asking", f"{SHOTS} example pictures of each of {WAY} new classes, and {QUERIES} pictures to label"
    )
    support, queries = draw_pictures(Path(out) / "pictures", seed)
    found = trained.predict(support, [queries])
    found = replace(found, queries=[Path(each).name for each in found.queries])
    print(found.table())
    print(f"\npicture: {found.sheet(Path(out) / 'prediction.png')}")
    say("What next", "")
    print(next_steps(trained.path, out))
    return 0


def _planned(out: str, method: str, episodes: int, seed: int) -> tuple[FewShotExperiment, Any]:
    config = preset(method, DATA, WAY, SHOT)
    training = replace(config.training, way=TRAINING_WAY, query=TRAINING_QUERY, tasks=1)
    experiment = FewShotExperiment(
        data=DATA,
        way=WAY,
        shot=SHOT,
        episodes=episodes,
        seed=seed,
        out=out,
        evaluate_every=max(1, episodes // 4),
        checkpoint_every=max(1, episodes // 4),
        validation_episodes=100,
    )
    return experiment, replace(config, training=training)


def _judged(trained: FewShotRun, out: str, seed: int) -> str:
    """A row for the method, one for the comparison of pixels."""
    rows = [[trained.name, *_accuracies(trained)]]
    if trained.name != FLOOR:
        experiment = replace(trained.experiment, episodes=1, out=out, evaluate_every=0)
        rows.append([f"{FLOOR} (pixels)", *_accuracies(train(FLOOR, experiment, quiet=True))])
    return markdown_table(["method", *(f"{way}-way {shot}-shot" for way, shot in JUDGED_BY)], rows)


def _accuracies(trained: FewShotRun) -> list[str]:
    mode = trained.config.training.test_statistics
    found = [
        trained.evaluate(way, shot, episodes=TEST_EPISODES, statistics=[mode], quiet=True)
        for way, shot in JUDGED_BY
    ]
    return [percent(each.accuracy, each.interval) for each in found]


def draw_pictures(folder: Path, seed: int) -> tuple[Path, Path]:
    """Write pictures of test classes as files: a folder of examples for each class, and a folder of queries.

    Args:
        folder: Where to; what stands there is replaced.
        seed: Which classes and pictures.

    Returns:
        The folders of the examples and of the queries.
    """
    from PIL import Image

    store, inverted = load(DATA, "test"), reference(DATA).inverted
    rng = np.random.default_rng(seed)
    support, queries = folder / "support", folder / "queries"
    for old in (*support.glob("*/*.png"), *queries.glob("*.png")):
        old.unlink()
    queries.mkdir(parents=True, exist_ok=True)
    classes = rng.choice(len(store.names), WAY, replace=False)

    def write(path: Path, number: int, which: int) -> None:
        picture: Any = store.images[int(store.starts[number]) + which].movedim(0, -1).numpy()
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 - picture if inverted else picture).squeeze(-1)).save(path)

    chosen = {number: rng.permutation(int(store.sizes[number])) for number in classes}
    for number, order in chosen.items():
        for place in range(SHOTS):
            write(support / _name(store, number) / f"{place + 1}.png", number, int(order[place]))
    for place in range(QUERIES):
        number = classes[place % WAY]
        which = int(chosen[number][SHOTS + place // WAY])
        write(queries / f"{place + 1} {_name(store, number)}.png", number, which)
    return support, queries


def _name(store: ClassStore, number: int) -> str:
    return store.names[number].replace("/", " ")


def next_steps(path: Path, out: str) -> str:
    """Commands to look closer and to go on."""
    run_, out = shlex.quote(str(path)), shlex.quote(out)
    commands = {
        f"metarl watch {out}": "curves and episodes in TensorBoard",
        f"metarl fewshot train --resume {run_} --episodes 2000": "train on",
        f"metarl fewshot evaluate {run_} --way 10": "more classes at once",
        "metarl fewshot list": "other methods and data sets",
        "metarl fewshot train prototypical --data omniglot": "handwritten characters (16 MB)",
    }
    width = max(map(len, commands))
    return "\n".join(f"{command:<{width}}   {purpose}" for command, purpose in commands.items())


def say(title: str, text: str) -> None:
    """A heading and a sentence."""
    print(f"\n{title}\n{'-' * len(title)}" + (f"\n{text}" if text else ""), flush=True)
