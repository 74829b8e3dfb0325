"""How well agents keep up with a world that changes: training of all methods, then lifetimes of them all.

    python benchmarks/lifetimes.py EXPERIMENT [--seeds 1 2 3] [--jobs 1] [--only NAME...] [--stages ppo rl2]

`hexapod`: two legs fail over seven episodes. `games`: matches against an opponent whose version rises from round to
round, in three pairings. `sample-complexity`: games of one pairing with 3, 9, 30 and 90 episodes per round.
`specialists`: the hexapod with two dead legs, before and after training on them alone.

What a stage starts from is trained first, so that all methods go on from one policy for as many steps. Runs lie in
`--out`; one that is complete is not trained again, one that was interrupted goes on. Raw returns and scores go to
`benchmarks/results/lifetimes_EXPERIMENT.json`, after every world.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from learning_tables import lived

from metarl.agents.experiments import open_run
from metarl.agents.lifetime_evaluation import LifetimeEvaluation, read
from metarl.files import write_atomically
from metarl.names import unknown
from metarl.provenance import measurement
from metarl.runs import Run, find


@dataclass(frozen=True)
class Stage:
    """One training."""

    flags: str
    """Agent and flags of `metarl train`."""
    after: str | None = None
    """Stage or wrestler that it starts from."""
    judged: bool = True
    """Whether its agent lives the test lifetimes."""
    shared: bool = False
    """Trained once, with seed 1, for all seeds and comparisons of one experiment or more."""
    options: str | None = None
    """Arguments of the world in training, where they are others."""


@dataclass(frozen=True)
class Comparison:
    """Trainings in one world, and the agents that are compared."""

    world: str
    options: str
    """Arguments of the world."""
    stages: Mapping[str, Stage]
    lifetimes: tuple[dict, ...] = ()
    """What the agents live, one kind after the other; none: the world's own lifetimes."""


ADAPTS = (
    "continuous-adaptation --policy.context-size 0 --policy.minimum-std 0.01 --inner.steps 1 --inner.lr 0.001 "
    "--inner.estimator lvc --outer.no-score-terms --inner.clip None --outer.lr 1e-4 --outer.epochs 10 "
    "--outer.minibatches 6 --outer.before 1 --outer.max-grad-norm 2 --execution.importance none"
)
REMEMBERS = "--lr 3e-4 --batch-size 2000 --reward-scale 0.05 --target-kl 0.02"

HEXAPOD = {
    "walker": Stage(
        "ppo --no-lifetimes --initial-std 0.4 --lr 5e-4 --steps 8000000", judged=False, shared=True
    ),
    "robust": Stage("ppo --lr 2e-4 --batch-size 2000 --steps 8000000", "walker", judged=False, shared=True),
    "ppo-first": Stage("ppo --lr 1e-4 --batch-size 2000 --steps 2000000", "robust", judged=False),
    "ppo": Stage("ppo --lr 1e-4 --batch-size 2000 --steps 1000000", "ppo-first"),
    "continuous-adaptation": Stage(f"{ADAPTS} --sampling.trajectories 2 --steps 3000000", "robust"),
    "rl2": Stage(f"rl2 --steps 3000000 --imitation 14 {REMEMBERS}", "robust"),
    "recurrent-ppo-first": Stage(
        f"recurrent-ppo --activation relu --steps 2000000 --imitation 14 {REMEMBERS}", "robust", judged=False
    ),
    "recurrent-ppo": Stage(
        f"recurrent-ppo --activation relu --steps 1000000 {REMEMBERS}", "recurrent-ppo-first"
    ),
    "continuous-adaptation-lstm": Stage(
        f"{ADAPTS} --policy.body lstm --policy.hidden 64 64 --sampling.trajectories 2 --sampling.reward-scale 0.05 "
        "--steps 1000000",
        "recurrent-ppo-first",
    ),
}


def game(episodes_per_round: int, rounds: int = 8) -> dict:
    """Against versions that rise from round to round; eight rounds are two for each quarter of the game."""
    return {"schedule": "rising-versions", "rounds": rounds, "episodes_per_round": episodes_per_round}


def plays(episodes_per_round: int) -> str:
    """Arguments of a world of games to train on: a round for every version of the longest ladder."""
    lifetime = json.dumps(game(episodes_per_round, rounds=7), separators=(",", ":"))
    return f"canonical=true opponents=zoo approach=10 retreat=1 lifetime={lifetime}"


LEARNS = "--environments 16 --batch-size 500 --epochs 8 --discount 0.995 --reward-scale 0.01"


def games(start: str) -> dict[str, Stage]:
    """Of one body: all methods go on from the same policy; RL^2, whose network is another, imitates it first."""
    return {
        "first": Stage(f"ppo --lr 1e-4 {LEARNS} --steps 500000", start, judged=False),
        "ppo": Stage(f"ppo --lr 5e-5 {LEARNS} --steps 1200000", "first"),
        "continuous-adaptation": Stage(
            "continuous-adaptation --steps 1200000 --inner.steps 1 --inner.estimator lvc "
            "--outer.no-score-terms --inner.clip None --inner.lr 0.005 --inner.context-lr 1 "
            "--sampling.tasks 24 --sampling.trajectories 4 --sampling.discount 0.995 --sampling.reward-scale 0.01 "
            "--outer.lr 5e-5 --outer.minibatches 4 --outer.before 1 --execution.importance none "
            "--execution.buffer 12",
            "first",
        ),
        "rl2": Stage(
            "rl2 --steps 1200000 --environments 8 --lr 1e-4 --imitation 6 --unroll 40 --batch-size 2000 --epochs 8 "
            "--discount 0.995 --reward-scale 0.01",
            "first",
            options=plays(3),
        ),
        "recurrent-ppo-first": Stage(
            "recurrent-ppo --activation relu --steps 700000 --imitation 8 --environments 4 --lr 3e-4 --batch-size 1000 "
            "--epochs 16 --discount 0.995 --reward-scale 0.01 --target-kl 0.02",
            "first",
            judged=False,
            options=plays(3),
        ),
        "continuous-adaptation-lstm": Stage(
            f"{ADAPTS} --policy.body lstm --policy.hidden 64 64 --sampling.tasks 24 --sampling.trajectories 4 "
            "--sampling.discount 0.995 --sampling.reward-scale 0.01 --execution.buffer 12 --steps 500000",
            "recurrent-ppo-first",
        ),
    }


def pairing(name: str, start: str, *episodes_per_round: int) -> Comparison:
    """Games of one pairing."""
    return Comparison(
        f"RoboSumo-{name}-v0", plays(9), games(start), tuple(game(each) for each in episodes_per_round)
    )


def specialist(*legs: int) -> Comparison:
    """What is to be gained on one pair of legs without torque, by training on it alone."""
    dead = {"schedule": "fixed", "task": {"legs": list(legs), "torque": 0}, "episodes": 2}
    only = f"integrator=implicitfast lifetime={json.dumps(dead, separators=(',', ':'))}"
    robust = replace(HEXAPOD["robust"], judged=True)
    alone = Stage("ppo --lr 2e-4 --batch-size 2000 --steps 1000000", "robust", options=only)
    stages = {"walker": HEXAPOD["walker"], "robust": robust, "specialist": alone}
    return Comparison("HexapodLegFailure-v0", "integrator=implicitfast", stages, (dead,))


EXPERIMENTS = {
    "hexapod": {"HexapodLegFailure": Comparison("HexapodLegFailure-v0", "integrator=implicitfast", HEXAPOD)},
    "games": {
        "Bug-vs-Ant": pairing("Bug-vs-Ant", "bug@5", 9),
        "Ant-vs-Bug": pairing("Ant-vs-Bug", "ant@5", 9),
        "Ant-vs-Ant": pairing("Ant-vs-Ant", "ant@5", 9),
    },
    "sample-complexity": {"Bug-vs-Ant": pairing("Bug-vs-Ant", "bug@5", 3, 9, 30, 90)},
    "specialists": {"back": specialist(1, 2), "middle": specialist(3, 4), "front": specialist(5, 6)},
}


def metarl(*words: str) -> None:
    """One command, in a process of its own."""
    print("metarl", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "metarl", *words, "--quiet"], check=True)


def trained(comparison: Comparison, name: str, seed: int, out: Path) -> Run:
    """The finished run of one stage; what it starts from is trained before."""
    stage = comparison.stages[name]
    seed = 1 if stage.shared else seed
    folder = (out.parent / "shared" if stage.shared else out / f"seed-{seed}") / name
    found = find(folder)
    if not found:
        start = stage.after
        if start in comparison.stages:
            start = str(trained(comparison, start, seed, out).path)
        words = [*stage.flags.split(), "--world", comparison.world, "--out", str(folder), "--seed", str(seed)]
        words += ["--evaluate-every", "0", *(["--start-from", start] if start else [])]
        options = stage.options or comparison.options
        metarl("train", *words, "--world-options", *options.split())
    elif found[-1].info["reason"] != "finished":
        metarl("train", "--resume", str(found[-1].path))
    return find(folder)[-1]


def judge(comparison: Comparison, name: str, seed: int, out: Path, lifetimes: int) -> list[dict]:
    """Train one agent if need be, and live the test lifetimes: what is kept of it, one row for each kind of lifetime."""
    run = trained(comparison, name, seed, out)
    agent, metrics = open_run(run.path), run.metrics()
    rows = []
    for schedule in comparison.lifetimes or [None]:
        found = lived_before(run, lifetimes, schedule)
        if found is None:
            found = agent.evaluate_lifetimes(lifetimes, lifetime=schedule, quiet=True)
        found = named(found, name).to_json()
        rows.append(
            {
                "agent": name,
                "seed": seed,
                "minutes": float(np.nansum(metrics["time/iteration"]) / 60),
                "steps": metrics["step"][-1],
                **{key: found[key] for key in ("protocol", "groups", "scores")},
                "measures": {label: _kept(each) for label, each in found["measures"].items()},
                "git": [
                    {key: each[key] for key in ("commit", "dirty") if key in each} for each in run.info["git"]
                ],
            }
        )
    return rows


def compact(content: Any) -> str:
    """JSON with a line for each list of numbers."""
    text = json.dumps(rounded(content), indent=1)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def rounded(content: Any) -> Any:
    """Content with its fractions rounded to four decimals, and returns of hundreds to one."""
    if isinstance(content, dict):
        return {name: rounded(each) for name, each in content.items()}
    if isinstance(content, list | tuple):
        return [rounded(each) for each in content]
    if not isinstance(content, float):
        return content
    return round(content, 1 if abs(content) >= 10 else 4)


def named(evaluation: LifetimeEvaluation, name: str) -> LifetimeEvaluation:
    """The same under the name of a stage, which tells trainings of one agent apart."""
    agent = evaluation.protocol["agent"]
    scores, measures = (
        {name + label.removeprefix(agent): each for label, each in found.items()}
        for found in (evaluation.scores, evaluation.measures)
    )
    return replace(
        evaluation, scores=scores, measures=measures, protocol={**evaluation.protocol, "agent": name}
    )


def lived_before(run: Run, lifetimes: int, schedule: dict | None) -> LifetimeEvaluation | None:
    """The last evaluation of a run, if it is of so many of these lifetimes."""
    if not (run.path / "lifetimes.json").exists():
        return None
    found = read(run.path / "lifetimes.json")
    same = all(scores.shape[1] == lifetimes for scores in found.scores.values())
    experiment = open_run(run.path).experiment
    world = gymnasium.make_vec(
        experiment.world, 1, vectorization_mode="vector_entry_point", **experiment.world_options
    )
    split = world.unwrapped.tasks.split_hash  # another one where wrestlers were added since
    world.close()
    known = found.protocol.get("schedule"), found.protocol["split_hash"]
    return found if same and known == (schedule, split) else None


def _kept(measures: Mapping[str, list]) -> dict[str, list]:
    """What tells how a lifetime went and how much was adapted."""
    return {
        name: measures[name]
        for name in ("score", "speed", "inner_kl", "effective_sample_size")
        if name in measures
    }


def main() -> None:
    """Train what is missing, judge, and keep the returns."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", help="some of the comparisons")
    parser.add_argument("--stages", nargs="+", help="some of the agents")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at once")
    parser.add_argument("--lifetimes", type=int, help="of each kind; unset, 50, or 30 games")
    parser.add_argument("--out", type=Path, default=Path("runs/lifetimes"))
    args = parser.parse_args()
    lifetimes = args.lifetimes or (30 if args.experiment in ("games", "sample-complexity") else 50)
    target = Path(f"benchmarks/results/lifetimes_{args.experiment}.json")
    comparisons = EXPERIMENTS[args.experiment]
    for title in args.only or []:
        if title not in comparisons:
            parser.error(str(unknown("comparison", title, comparisons)))
    for title in args.only or comparisons:
        comparison = comparisons[title]
        judged = [name for name, stage in comparison.stages.items() if stage.judged]
        for name in args.stages or []:
            if name not in judged:
                parser.error(str(unknown("agent", name, judged)))
        chosen = args.stages or judged

        def of_seed(seed: int, comparison=comparison, title=title, chosen=chosen) -> list[dict]:
            each = [judge(comparison, name, seed, args.out / title, lifetimes) for name in chosen]
            return list(chain.from_iterable(each))

        with ThreadPoolExecutor(args.jobs) as pool:
            rows = list(chain.from_iterable(pool.map(of_seed, args.seeds)))
        print(f"{title}\n\n{lived(rows)}\n", flush=True)
        new = {(row["agent"], row["seed"]) for row in rows}
        kept = json.loads(target.read_text())["comparisons"] if target.exists() else {}
        before = kept.get(title, {"runs": []})["runs"]
        kept[title] = {
            **asdict(comparison),
            "runs": [row for row in before if (row["agent"], row["seed"]) not in new] + rows,
        }
        write_atomically(target, compact({**measurement(), "comparisons": kept}).encode())


if __name__ == "__main__":
    main()
