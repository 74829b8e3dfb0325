"""An ant learns sumo by playing against itself, and meets its own past.

The versions that it leaves on the way are opponents like any others: they meet in a row of matches, and are what another
agent would have to keep up with in an iterated game.

Run: python examples/self_play.py [--steps 500000]    (some minutes; to push a standing ant off the mat takes millions)
"""

import argparse

import metarl
from metarl.envs.contestants import contestant
from metarl.envs.contests import play

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=500_000)
parser.add_argument("--matches", type=int, default=64)
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()

run = metarl.train(
    "self-play",
    world="RoboSumo-Ant-vs-Ant-v0",
    steps=args.steps,
    seed=args.seed,
    world_options={"physics": "fast", "approach": 20, "retreat": 1},
    ppo={"environments": 32, "batch_size": 1000},
    evaluate_every=0,
)
newest = contestant(str(run.path))
for other in (contestant(f"{run.path}@0"), contestant("zero-ant")):
    found = play(newest, other, num=args.matches)
    low, high = found.interval
    print(f"{newest.name} beats {other.name}: {100 * found.wins:.0f} % [{100 * low:.0f}, {100 * high:.0f}]")
print(f"film it: metarl match {run.path} zero-ant --rounds 3 --out clip.mp4")
