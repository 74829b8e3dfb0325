"""Small trainings on generated drawings, for tests of what surrounds the methods."""

from dataclasses import replace
from functools import cache

from metarl import checkpoints
from metarl.metrics_csv import read_rows
from metarl.supervised import datasets, preset
from metarl.supervised.experiment import FewShotExperiment

load_once = cache(datasets.load)


def experiment(out, **changes):
    usual = {"episodes": 24, "evaluate_every": 4, "checkpoint_every": 4, "validation_episodes": 6, "query": 3}
    return FewShotExperiment(data="strokes", out=str(out), device="cpu", **(usual | changes))


def config(**training):
    """Prototypical networks with a tiny backbone; two tasks of five ways to an update."""
    usual = preset("prototypical", "strokes", 5, 1)
    changes = {"way": 5, "query": 2, "tasks": 2, "decay_every": None, "milestones": (0.5,)} | training
    backbone = replace(usual.backbone, channels=4)
    return replace(usual, backbone=backbone, training=replace(usual.training, **changes))


def outcome(run):
    """Newest tensors, best tensors and what is said of them, and the rows of metrics.csv but for times."""
    tensors, state = checkpoints.load(checkpoints.latest(run.checkpoints))
    best, said = checkpoints.load(run.checkpoints / "best")
    columns, rows = read_rows(run.path / "metrics.csv")
    kept = [name for name in columns if not name.startswith("time/")]
    return (
        tensors,
        best,
        said,
        state["steps"],
        [kept] + [[row.get(name, "") for name in kept] for row in rows],
    )
