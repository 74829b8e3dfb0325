"""Accuracy of trained few-shot runs on the same 1,000 test episodes of each kind.

    python benchmarks/fewshot_accuracy.py RUN [RUN ...] [--kinds 5w1s 5w5s 20w1s 20w5s] [--modes MODE ...]

Each run's best state by validation is judged in its own normalisation mode, and in those of `--modes`, too (any but
`running` takes many times as long). Of runs on `omniglot-lake` the accuracies in Lake's 20 one-shot runs are found, too.
Accuracies of every episode go to `benchmarks/results/fewshot_DATA.json`; there a run takes the place of another of its
method, ways and shots, pre-trained by the same method or not at all, that has the same seed or that it started from. Of a
run that started from another, or was trained on another's features, that one's training stands before its own.
"""

import argparse
import json
import re
from pathlib import Path

from origin import pretrained_by

from metarl.configs import read_json, write_json
from metarl.provenance import measurement
from metarl.supervised import one_shot_error, one_shot_runs
from metarl.supervised.building import has_batch_norm
from metarl.supervised.feature_extraction import ORIGIN
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.runs import open_run

RESULTS = Path(__file__).parent / "results"


ONE_SHOT = "Lake's runs"
"""The kind of the official one-shot runs, 20-way with drawings of one alphabet."""


def judged(folder: str, kinds: list[str], episodes: int, more: list[str]) -> dict:
    """A run's accuracies, and how it was trained."""
    trained = open_run(folder)
    info, rows = trained.run.info, []
    modes = (trained.config.training.test_statistics, *more)
    for kind in kinds:
        way, shot = (int(number) for number in kind.removesuffix("s").split("w"))
        found = trained.evaluate(way=way, shot=shot, episodes=episodes, statistics=modes, quiet=True)
        print(f"{info['agent']}, {kind}\n{found.table()}\n", flush=True)
        accuracies = {mode: each.accuracies.round(4).tolist() for mode, each in found.judged.items()}
        rows.append({"kind": kind, "protocol": found.protocol, "accuracies": accuracies})
    if trained.experiment.data == "omniglot-lake":
        rows.append(in_one_shot_runs(trained))
    data, before = origin(trained)
    experiment = trained.run.config["experiment"] | {"out": "runs", "data": data}
    if experiment.get("start_from"):
        experiment["start_from"] = "RUN"
    return {
        "method": info["agent"],
        "seed": info["seed"],
        "before": before,
        **training(trained),
        "config": trained.run.config | {"experiment": experiment},
        "rows": rows,
    }


def training(trained: FewShotRun) -> dict:
    """How a run was trained, how long, and on what."""
    info, metrics = trained.run.info, trained.run.metrics()
    resumed = [each for each in info["resumed"] if isinstance(each, dict)]  # older runs keep times alone
    code = [each for start in (info, *resumed) for each in start["git"]]
    return {
        "training": command(trained),
        "episodes": int(metrics["step"][-1]),
        "minutes": sum(each for each in metrics["time/iteration"] if each == each) / 60,
        "git": [{key: each[key] for key in ("commit", "dirty") if key in each} for each in code],
        "hardware": info["hardware"],
    }


def command(trained: FewShotRun) -> str:
    """How a run was trained; what it rests on is called RUN and FEATURES, and where it lies is left out."""
    places = {r" --out \S+": "", r"--start-from \S+": "--start-from RUN"}
    if Path(trained.experiment.data).is_dir():
        places[r"--data \S+"] = "--data FEATURES"
    found = trained.run.info["command"]
    for pattern, text in places.items():
        found = re.sub(pattern, text, found)
    return found


def origin(trained: FewShotRun) -> tuple[str, list[dict]]:
    """The pictures that a run rests on, and the trainings before it: the first one first."""
    data, before = trained.experiment.data, []
    about = Path(data) / ORIGIN
    if about.is_file():
        features = read_json(about)
        data, before = features["data"], trainings(open_run(features["run"]))
    if trained.experiment.start_from is not None:
        before += trainings(open_run(trained.experiment.start_from))
    return data, before


def trainings(trained: FewShotRun) -> list[dict]:
    """Those that a run rests on, and its own."""
    return [*origin(trained)[1], training(trained)]


def in_one_shot_runs(trained: FewShotRun) -> dict:
    """Accuracy in each of Lake's 20 runs."""
    model, state = trained.method()
    mode = trained.config.training.test_statistics
    experiment = trained.experiment
    runs = one_shot_runs(experiment.data_root, size=trained.run.config["image"][-1])
    errors = one_shot_error(model, runs, mode)
    print(
        f"{trained.name}, {ONE_SHOT}: {100 * errors.mean():.1f} % of 400 drawings are mistaken\n", flush=True
    )
    accuracies = {mode if has_batch_norm(model) else "none": (1 - errors).round(4).tolist()}
    return {"kind": ONE_SHOT, "protocol": {"way": 20, "shot": 1, **state}, "accuracies": accuracies}


def aim(run: dict) -> tuple:
    """The method, what gave it its features, and the ways and shots that it was trained for."""
    experiment = run["config"]["experiment"]
    return run["method"], pretrained_by(run), experiment["way"], experiment["shot"]


def takes_the_place(new: dict, old: dict) -> bool:
    """Whether a run's row replaces another's: trained with the same seed, or started from it."""
    before = {each["training"] for each in new["before"]}
    return aim(new) == aim(old) and (new["seed"] == old["seed"] or old["training"] in before)


def judged_before(new: dict, old: list[dict]) -> list[dict]:
    """What the very same run came to in kinds of episodes that it was not judged in now."""
    same = [each for each in old if all(each[name] == new[name] for name in ("training", "git", "minutes"))]
    kinds = {row["kind"] for row in new["rows"]}
    return [row for each in same for row in each["rows"] if row["kind"] not in kinds]


def main() -> None:
    """Judge the runs, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--kinds", nargs="*", default=["5w1s", "5w5s", "20w1s", "20w5s"])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--modes", nargs="*", default=[], help="to judge in besides the method's own")
    args = parser.parse_args()
    for folder in args.runs:
        new = judged(folder, args.kinds, args.episodes, args.modes)
        path = RESULTS / f"fewshot_{new['config']['experiment']['data']}.json"
        old = json.loads(path.read_text())["runs"] if path.exists() else []
        kept = [each for each in old if not takes_the_place(new, each)]
        new["rows"] += judged_before(new, old)
        write_json(path, {**measurement(), "runs": [*kept, new]})


if __name__ == "__main__":
    main()
