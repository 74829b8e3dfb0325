"""Accuracy of trained few-shot runs on the same 1,000 test episodes of each kind.

    python benchmarks/fewshot_accuracy.py RUN [RUN ...] [--kinds 5w1s 5w5s 20w1s 20w5s] [--episodes 1000]

Each run's best state by validation is judged, in its own normalisation mode and the transductive one. Accuracies of every
episode go to `benchmarks/results/fewshot_DATA.json`; a run that is there already (same method and seed) is replaced.
"""

import argparse
import json
import re
from pathlib import Path

from metarl.configs import write_json
from metarl.provenance import measurement
from metarl.supervised.runs import open_run

RESULTS = Path(__file__).parent / "results"


def judged(folder: str, kinds: list[str], episodes: int) -> dict:
    """A run's accuracies, and how it was trained."""
    trained = open_run(folder)
    info, rows = trained.run.info, []
    for kind in kinds:
        way, shot = (int(number) for number in kind.removesuffix("s").split("w"))
        found = trained.evaluate(way=way, shot=shot, episodes=episodes)
        print(f"{info['agent']}, {kind}\n{found.table()}\n", flush=True)
        accuracies = {mode: each.accuracies.round(4).tolist() for mode, each in found.judged.items()}
        rows.append({"kind": kind, "protocol": found.protocol, "accuracies": accuracies})
    config = trained.run.config | {"experiment": trained.run.config["experiment"] | {"out": "runs"}}
    return {
        "method": info["agent"],
        "seed": info["seed"],
        "training": re.sub(r" --out \S+", "", info["command"]),
        "config": config,
        "minutes": sum(each for each in trained.run.metrics()["time/iteration"] if each == each) / 60,
        "git": [{key: each[key] for key in ("commit", "dirty") if key in each} for each in info["git"]],
        "hardware": info["hardware"],
        "rows": rows,
    }


def main() -> None:
    """Judge the runs, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--kinds", nargs="+", default=["5w1s", "5w5s", "20w1s", "20w5s"])
    parser.add_argument("--episodes", type=int, default=1000)
    args = parser.parse_args()
    for folder in args.runs:
        new = judged(folder, args.kinds, args.episodes)
        path = RESULTS / f"fewshot_{new['config']['experiment']['data']}.json"
        old = json.loads(path.read_text())["runs"] if path.exists() else []
        kept = [each for each in old if (each["method"], each["seed"]) != (new["method"], new["seed"])]
        write_json(path, {**measurement(), "runs": [*kept, new]})


if __name__ == "__main__":
    main()
