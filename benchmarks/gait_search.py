"""Search a gait for a wrestler by the cross-entropy method: how far it walks, and pushes an ant that stands still.

    python benchmarks/gait_search.py spider [--generations 40] [--seed 0]

Of every generation's candidates (Rubinstein & Kroese 2004) the best quarter is the next one's mean and spread. Prints
the best share of matches won in each generation; in the end the numbers for `metarl/envs/gaits.py`.
"""

import argparse
from dataclasses import fields

import numpy as np

from metarl.envs.gaits import Gait
from metarl.envs.sumo import RoboSumo
from metarl.progress import Progress

CANDIDATES, REPEATS, STEPS, SETTLED = 24, 4, 200, 12
"""Gaits of a generation, matches of each, steps of a match, and those after which all have come down on the mat."""
NUMBERS = [each.name for each in fields(Gait) if each.name != "body"]
START = {
    "swing": 0.35,
    "reach": 0.0,
    "frequency": 1.5,
    "lead": 1.0,
    "lift_phase": 0.0,
    "stiffness": 1.5,
    "damping": 0.2,
}
ANKLES = {
    "ant": {"lift": 0.3, "stance": 0.9},
    "bug": {"lift": 0.3, "stance": 0.9},
    "spider": {"lift": 0.4, "stance": 0.1},
}
"""Where the search starts: an ant's and a bug's ankles are bent by 0.5 to 1.2, a spider's by -0.8 to 0.6."""
SPREAD = {
    "swing": 0.1,
    "lift": 0.15,
    "stance": 0.1,
    "reach": 0.1,
    "frequency": 0.4,
    "lead": 0.5,
    "lift_phase": 0.6,
    "stiffness": 0.4,
    "damping": 0.1,
}


def judge(gaits: list[Gait], world: RoboSumo, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of gaits, and the shares of matches that they won: (candidates,) each."""
    num = len(gaits) * REPEATS
    world.begin(np.arange(num), [np.random.default_rng([seed, i % REPEATS]) for i in range(num)])
    still = np.zeros((num, world.action_sizes[1]))
    lost, won = np.zeros((2, num), bool)
    for step in range(STEPS):
        seen = world.observe_side(0)
        if step == SETTLED:
            start, other = seen[:, :2], seen[:, -13:-11]
            way = (other - start) / np.linalg.norm(other - start, axis=1, keepdims=True)
        rows = np.split(seen, len(gaits))
        bout = world.advance(
            (np.concatenate([gait(each) for gait, each in zip(gaits, rows, strict=True)]), still)
        )
        if step > SETTLED:
            over = lost | won
            won |= (bout.results[:, 0] == 1) & ~over
            lost |= (bout.results[:, 0] > 1) & (bout.results[:, 0] != 3) & ~over
    seen = world.observe_side(0)
    walked = ((seen[:, :2] - start) * way).sum(axis=1)
    pushed = ((seen[:, -13:-11] - other) * way).sum(axis=1)
    scores = np.clip(walked, -2, 2) + np.clip(pushed, -1, 1) + 2.0 * won - 1.5 * lost
    return tuple(each.reshape(len(gaits), REPEATS).mean(axis=1) for each in (scores, won.astype(float)))


def main() -> None:
    """Search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("body", choices=ANKLES)
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    body, first = args.body.title(), START | ANKLES[args.body]
    world = RoboSumo(CANDIDATES * REPEATS, pairing=f"{body}-vs-Ant")
    mean, spread = (np.array([given[name] for name in NUMBERS]) for given in (first, SPREAD))
    positive = [NUMBERS.index(name) for name in ("swing", "frequency", "stiffness")]
    with Progress("gait", args.generations, unit="generations") as progress:
        for number in range(1, args.generations + 1):
            drawn = mean + spread * rng.standard_normal((CANDIDATES, len(mean)))
            drawn[:, positive] = np.maximum(drawn[:, positive], 0.05)
            gaits = [Gait(body, *each) for each in drawn.tolist()]
            scores, won = judge(gaits, world, args.seed * args.generations + number)
            best = np.argsort(-scores)[: CANDIDATES // 4]
            mean = 0.3 * mean + 0.7 * drawn[best].mean(axis=0)
            spread = 0.4 * spread + 0.6 * drawn[best].std(axis=0) + 0.01
            progress.update(number, {"match/won": won.mean(), "match/won_by_the_best": won[best].mean()})
    found = Gait(body, *mean.round(3).tolist())
    _, won = judge([found] * CANDIDATES, world, args.seed + 1_000_000)
    print(f"{found}\nwins {100 * won.mean():.0f} % of {REPEATS} starts in {STEPS} steps")


if __name__ == "__main__":
    main()
