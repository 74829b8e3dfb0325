"""Where the time of a training iteration goes: physics, policy, inner loop and valuation, outer step.

    python benchmarks/iteration.py [--pairs promp:metarl/CheetahDir-v0] [--iterations 5]

Times every call of the world's `step` and `reset` (physics), the rest of the rollouts (policy), the rest of `collect`
(adaptation and valuation), and the outer update. Medians over iterations, with the quartiles.
"""

import argparse
import time
from contextlib import contextmanager

import numpy as np
import torch

import metarl.agents
import metarl.agents.meta_policy_gradient as training_module
from metarl.agents.experiments import outer_optimizer
from metarl.configs import write_json
from metarl.provenance import measurement
from metarl.training import generator

PAIRS = [
    "promp:metarl/CheetahDir-v0",
    "maml:metarl/CheetahDir-v0",
    "promp:metarl/AntDir-v0",
    "maml:metarl/AntDir-v0",
    "continuous-adaptation:metarl/HexapodLegFailure-v0",
]


class Stopwatch:
    """Seconds spent under each name."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name):
        """Count what runs inside under this name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def around(self, function, name):
        """The same function, its time counted under this name."""

        def timed(*args, **kwargs):
            with self(name):
                return function(*args, **kwargs)

        return timed


def measure(agent: str, world: str, iterations: int) -> dict:
    """Shares of a training iteration by part, as quartiles over iterations."""
    config = metarl.agents.preset(agent)
    torch.manual_seed(0)
    algorithm = training_module.MetaPolicyGradientTraining(world, config)
    optimizer = outer_optimizer(dict(algorithm.module.named_parameters()), config)
    watch = Stopwatch()
    algorithm.env.step = watch.around(algorithm.env.step, "physics")
    algorithm.env.reset = watch.around(algorithm.env.reset, "physics")
    training_module.rollout = watch.around(training_module.rollout, "rollout")
    shares, totals, steps = [], [], 0
    for iteration in range(iterations + 1):
        watch.seconds = {}
        with watch("total"):
            with watch("collect"):
                batch = algorithm.collect(generator(0, iteration, "collect"))
            with watch("outer step"):
                optimizer.update(lambda: algorithm.loss(batch.data))  # noqa: B023  called at once
        s = watch.seconds
        parts = {
            "physics": s["physics"],
            "policy": s["rollout"] - s["physics"],
            "adaptation and valuation": s["collect"] - s["rollout"],
            "outer step": s["outer step"],
        }
        if iteration > 0:  # the first one warms up
            shares.append({name: value / s["total"] for name, value in parts.items()})
            totals.append(s["total"])
            steps = batch.steps
    quartiles = lambda values: [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]  # noqa: E731
    return {
        "agent": agent,
        "world": world,
        "steps_per_iteration": steps,
        "seconds_per_iteration": quartiles(totals),
        "shares": {name: quartiles([each[name] for each in shares]) for name in shares[0]},
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="AGENT:WORLD")
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--out", default="benchmarks/results/iteration.json")
    args = parser.parse_args()
    rows = [measure(*pair.split(":"), args.iterations) for pair in args.pairs]
    for row in rows:
        shares = ", ".join(f"{name} {100 * mid:.0f} %" for name, (_, mid, _) in row["shares"].items())
        median = row["seconds_per_iteration"][1]
        print(
            f"{row['world']:24s} {row['agent']:22s} {row['steps_per_iteration'] / median:8.0f} steps/s   {shares}"
        )
    write_json(
        args.out,
        {
            **measurement(),
            "quartiles": "25 %, 50 %, 75 % over iterations",
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
