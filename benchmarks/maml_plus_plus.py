"""MAML++ part by part: what short trainings on Omniglot come to with no part, with each alone, and with all.

    python benchmarks/maml_plus_plus.py [--updates 800] [--seeds 0] [--rows maml maml++ ...]

The ablation of Antoniou et al. (2019, table 1), shortened, on 20-way 1-shot episodes: strided Conv4-64, five inner steps
of size 0.1 from a head of zeros, whose own step size is 1.5; two tasks an update, whose images are turned, sheared,
scaled and moved; a bounded outer gradient; and the rest as in the preset. Derivative-order annealing, which the preset
leaves out, takes first-order gradients for half of the training. Every training is judged on the same 300 test
episodes, normalised by the batch and by stored averages: averages for every inner step make a difference to the latter
alone.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from metarl.configs import write_json
from metarl.provenance import measurement
from metarl.supervised import preset
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.runs import train
from metarl.training import TrainingDiverged

RESULTS = Path(__file__).parent / "results" / "maml_plus_plus.json"
WAY, SHOT, QUERY, TASKS = 20, 1, 5, 2
EPISODES = 300
"""Test episodes."""
MODES = ("transductive", "running")
NONE = {
    "multi_step_share": 0.0,
    "first_order_share": 0.0,
    "per_step_statistics": False,
    "per_step_affine": False,
    "learned_rates": False,
    "anneal": "none",
}
"""MAML, as settings of MAML++."""
ROWS: dict[str, dict[str, Any] | None] = {
    "maml": {},
    "multi-step loss": {"multi_step_share": 0.1},
    "derivative-order annealing": {"first_order_share": 0.5},
    "averages of every step": {"per_step_statistics": True},
    "scale and shift of every step": {"per_step_affine": True},
    "learned step sizes": {"learned_rates": True},
    "cosine annealing": {"anneal": "cosine"},
    "maml++": None,
}
"""What each row switches on; None: what the preset does."""


def trained(row: str, updates: int, seed: int) -> dict[str, Any]:
    """One training, judged; why there is nothing if it diverges."""
    usual, part = preset("maml++", "omniglot", WAY, SHOT), ROWS[row]
    switches = {} if part is None else NONE | part
    training = replace(
        usual.training,
        anneal=switches.pop("anneal", usual.training.anneal),
        tasks=TASKS,
        query=QUERY,
        augment="affine",
        max_grad_norm=1.0,
        precision="bfloat16",
        kept=1,
    )
    backbone = replace(usual.backbone, halve="stride")
    config = replace(usual, backbone=backbone, training=training, zero_head=True, head_lr=1.5, **switches)
    found: dict[str, Any] = {"row": row, "seed": seed}
    with tempfile.TemporaryDirectory() as out:
        experiment = FewShotExperiment(
            "omniglot",
            way=WAY,
            shot=SHOT,
            query=QUERY,
            episodes=updates * TASKS,
            seed=seed,
            out=out,
            evaluate_every=updates * TASKS,
            validation_episodes=2,
        )
        try:
            run = train("maml++", experiment, config, quiet=True)
        except TrainingDiverged as error:
            return found | {"diverged": str(error).partition(". The last")[0]}
        found["minutes"] = sum(run.run.metrics()["time/iteration"]) / 60
        judged = run.evaluate(query=QUERY, episodes=EPISODES, statistics=MODES, quiet=True).judged
    return found | {"accuracies": {mode: each.accuracies.round(4).tolist() for mode, each in judged.items()}}


def main() -> None:
    """Train and judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    settings = {"updates": args.updates}
    rows: list[dict[str, Any]] = []
    for seed in args.seeds:
        for row in args.rows:
            new = trained(row, args.updates, seed)
            shown = {
                mode: round(sum(each) / len(each), 3) for mode, each in new.get("accuracies", {}).items()
            }
            print(f"{row}, seed {seed}: {shown or new['diverged']}", flush=True)
            rows.append(new)
            rows.sort(key=lambda each: (list(ROWS).index(each["row"]), each["seed"]))
            write_json(args.out, {**measurement(), "settings": settings, "rows": rows})


if __name__ == "__main__":
    main()
