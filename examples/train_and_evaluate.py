"""Train an agent, see how it adapts to tasks, draw it and film it.

Run: python examples/train_and_evaluate.py [--steps 1200000] [--out runs]    (about two minutes)
"""

import argparse

import metarl

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=1_200_000, help="environment steps to train for")
parser.add_argument("--repeats", type=int, default=10, help="adaptations to each task")
parser.add_argument("--out", default="runs", help="folder for the run")
args = parser.parse_args()

run = metarl.train(
    "promp",
    world="metarl/CheetahDir-v0",
    steps=args.steps,
    seed=1,
    out=args.out,
    sampling={"tasks": 2, "trajectories": 20},
)
print(run.evaluate(split="test", inner_steps=3, repeats=args.repeats).table())
print(run.plot(run.path / "adaptation.png"))
print(run.render(run.path / "before-and-after.gif", seconds=3))
