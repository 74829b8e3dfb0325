"""What the agents learn: return before and after adaptation, several seeds, with intervals.

    python benchmarks/learning.py NAME [NAME ...] [--seeds 1 2 3] [--jobs 1]

Each name is one of EXPERIMENTS. A seed is one `metarl train` command; its newest checkpoint is then evaluated on test
tasks. Runs lie in `--out`; one that is complete is not trained again. Raw scores and learning curves go to
`benchmarks/results/learning_NAME.json`; `python benchmarks/tables.py` makes the tables from them.
"""

import argparse
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from metarl.agents.experiments import open_run
from metarl.configs import write_json
from metarl.runs import Run, find
from metarl.statistics import interquartile_mean, stratified_bootstrap

TWO_TASKS = "--sampling.tasks 2 --sampling.trajectories 20"
EXPERIMENTS = {
    "cheetah-dir-promp": (
        f"promp --world CheetahDir-v0 --steps 3000000 {TWO_TASKS}",
        (1, 2, 3),
    ),
    "cheetah-dir-meta-sgd": (
        f"meta-sgd --world CheetahDir-v0 --steps 2000000 {TWO_TASKS}",
        (1, 2, 3),
    ),
    "cheetah-dir-ppo": ("ppo --world CheetahDir-v0 --steps 2000000", (1, 2, 3)),
    "cheetah-vel-promp": (
        "promp --world CheetahVel-v0 --steps 5000000 --sampling.tasks 10 --sampling.trajectories 10",
        (1, 2, 3),
    ),
    "point-navigation-promp": (
        "promp --world PointNavigation-v0 --steps 3000000 --sampling.tasks 20 --sampling.trajectories 10 --inner.steps 3 "
        "--inner.lr 0.1",
        (1, 2, 3, 4, 5),
    ),
}
CURVES = ("adapt/return_0", "adapt/return_1", "rollout/ep_rew_mean")


def train(name: str, seed: int, out: Path) -> Run:
    """The finished run of one seed, trained now unless it is there."""
    folder = out / name / f"seed-{seed}"
    done = [run for run in find(folder) if run.info["reason"] == "finished"]
    if not done:
        words = ["train", *EXPERIMENTS[name][0].split(), "--seed", str(seed), "--out", str(folder)]
        print("metarl", shlex.join(words), flush=True)
        subprocess.run([sys.executable, "-m", "metarl", *words, "--quiet"], check=True)
        done = [run for run in find(folder) if run.info["reason"] == "finished"]
    return done[-1]


def curve(run: Run, points: int = 100) -> dict[str, list[float]]:
    """The logged returns, averaged over equal stretches of training."""
    metrics = run.metrics()
    tags = ["step", *(tag for tag in CURVES if tag in metrics)]
    parts = np.array_split(np.arange(len(metrics["step"])), min(points, len(metrics["step"])))
    return {tag: [float(np.nanmean(np.array(metrics[tag])[part])) for part in parts] for tag in tags}


def judge(name: str, seed: int, out: Path) -> dict:
    """Train one seed if need be, and evaluate it."""
    run = train(name, seed, out)
    evaluation = open_run(run.path).evaluate(inner_steps=3, repeats=5)
    metrics = run.metrics()
    return {
        "seed": seed,
        "protocol": evaluation.protocol,
        "tasks": evaluation.tasks,
        "scores": evaluation.scores.round(2).tolist(),
        "curve": curve(run),
        "minutes": float(np.nansum(metrics["time/iteration"]) / 60),
        "steps": metrics["step"][-1],
        "git": [{key: each[key] for key in ("commit", "dirty") if key in each} for each in run.info["git"]],
        "versions": run.info["versions"],
        "hardware": run.info["hardware"],
    }


def summary(rows: list[dict]) -> list[dict]:
    """Interquartile mean and 95 % interval after each inner step; a seed's repeats are averaged, tasks are the strata."""
    scores = np.stack([np.array(row["scores"]).mean(0) for row in rows])
    found = []
    for step in range(scores.shape[-1]):
        low, high = stratified_bootstrap(scores[..., step], interquartile_mean)
        found.append({"step": step, "iqm": interquartile_mean(scores[..., step]), "low": low, "high": high})
    return [{key: float(value) if key != "step" else value for key, value in each.items()} for each in found]


def main() -> None:
    """Train what is missing, judge, and keep the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=EXPERIMENTS)
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    for name in args.names:
        words, seeds = EXPERIMENTS[name]
        with ThreadPoolExecutor(args.jobs) as pool:
            rows = list(pool.map(lambda seed, name=name: judge(name, seed, args.out), args.seeds or seeds))
        result = {"name": name, "command": f"metarl train {words}", "summary": summary(rows), "runs": rows}
        write_json(f"benchmarks/results/learning_{name}.json", result)
        print(
            name, [f"{each['iqm']:.1f} [{each['low']:.1f}, {each['high']:.1f}]" for each in result["summary"]]
        )


if __name__ == "__main__":
    main()
