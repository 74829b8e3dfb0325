"""How well agents keep up as the hexapod's legs fail: training of all methods, then 50 lifetimes of each test pair.

    python benchmarks/lifetimes.py [--seeds 1 2 3] [--jobs 1] [--only ppo continuous-adaptation]

Per seed: PPO learns to walk on failing legs for FIRST steps; from there it goes on for SECOND steps (judged
without adaptation, and tracking), and continuous adaptation is meta-trained for SECOND steps. The agents with
memory train for both together. `walker` is PPO that never saw a failure. Runs lie in `--out`; one that is complete is
not trained again, one that was interrupted goes on. Raw returns go to `benchmarks/results/lifetimes.json`.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from metarl.agents.experiments import open_run
from metarl.agents.lifetime_evaluation import summary, table
from metarl.configs import write_json
from metarl.provenance import measurement
from metarl.runs import Run, find

WORLD = "HexapodLegFailure-v0"
FIRST, SECOND = 10_000_000, 8_000_000
"""Environment steps: learning to walk, and what comes after."""
PPO = "--initial-std 0.4 --lr 5e-4"
ADAPTATION = (
    "--inner.steps 1 --inner.estimator lvc --outer.no-score-terms --inner.clip None --inner.lr 0.001 "
    "--inner.context-lr 40 --sampling.trajectories 2 --outer.lr 7e-4 --outer.epochs 10 --outer.minibatches 6 "
    "--outer.before 1 --outer.max-grad-norm 2 --execution.importance none"
)
AGENTS = {
    "walker": f"ppo --no-lifetimes {PPO} --steps {FIRST}",
    "ppo": f"ppo {PPO} --steps {FIRST}",
    "continuous-adaptation": f"continuous-adaptation {ADAPTATION} --steps {SECOND}",
    "recurrent-ppo": f"recurrent-ppo --initial-std 0.4 --steps {FIRST + SECOND}",
    "rl2": f"rl2 --initial-std 0.4 --steps {FIRST + SECOND}",
}


def metarl(*words: str) -> None:
    """One command, in a process of its own."""
    print("metarl", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "metarl", *words, "--quiet"], check=True)


def trained(folder: Path, words: str, more: list[str]) -> Run:
    """The finished run in a folder: trained, gone on with, or there already."""
    found = find(folder)
    if not found:
        metarl("train", *words.split(), "--world", WORLD, "--out", str(folder), *more)
    elif found[-1].info["reason"] != "finished":
        metarl("train", "--resume", str(found[-1].path))
    return find(folder)[-1]


def train(agent: str, seed: int, out: Path, options: list[str]) -> Run:
    """The finished run of one agent and seed."""
    more = ["--seed", str(seed), "--evaluate-every", "50", *options]
    folder = out / f"seed-{seed}" / agent
    if agent not in ("ppo", "continuous-adaptation"):
        return trained(folder, AGENTS[agent], more)
    first = trained(out / f"seed-{seed}" / "first", AGENTS["ppo"], more)
    if agent == "continuous-adaptation":
        return trained(folder, AGENTS[agent], [*more, "--start-from", str(first.path)])
    if not find(folder):
        shutil.copytree(first.path, folder / "ppo" / first.path.name)
    run = find(folder)[-1]
    if run.metrics()["step"][-1] < FIRST + SECOND:
        metarl("train", "--resume", str(run.path), "--steps", str(FIRST + SECOND))
    return run


def judge(agent: str, seed: int, args: argparse.Namespace) -> dict:
    """Train one agent if need be, and live the test lifetimes."""
    run = train(agent, seed, args.out, args.options)
    evaluation = open_run(run.path).evaluate_lifetimes(args.lifetimes, quiet=True)
    metrics = run.metrics()
    return {
        "evaluation": evaluation,
        "row": {
            "agent": agent,
            "seed": seed,
            "minutes": float(np.nansum(metrics["time/iteration"]) / 60),
            "steps": metrics["step"][-1],
            **evaluation.to_json(),
            "git": [
                {key: each[key] for key in ("commit", "dirty") if key in each} for each in run.info["git"]
            ],
        },
    }


def main() -> None:
    """Train what is missing, judge, and keep the returns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=AGENTS, default=list(AGENTS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--lifetimes", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs/lifetimes"))
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="further flags of metarl train"
    )
    args = parser.parse_args()
    with ThreadPoolExecutor(args.jobs) as pool:
        of_seed = lambda seed: [judge(agent, seed, args) for agent in args.only]  # noqa: E731
        found = [each for seed in pool.map(of_seed, args.seeds) for each in seed]
    print(table(summary([each["evaluation"] for each in found if each["row"]["agent"] != "walker"])))
    rows = [each["row"] for each in found]
    write_json("benchmarks/results/lifetimes.json", {**measurement(), "agents": AGENTS, "runs": rows})


if __name__ == "__main__":
    main()
