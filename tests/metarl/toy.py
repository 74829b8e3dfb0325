"""A toy meta-learner on quadratic tasks, and a program that trains it, for tests that kill it."""

import argparse
import os
import signal

import torch
from torch import nn

from metarl import distributed
from metarl.meta_optimizers import GradientSteps, TrustRegion
from metarl.runs import Run, find
from metarl.training import Batch, Schedule, train

TASKS = 4


class Quadratic:
    """Tasks are centres c; one inner step on |x - c|^2 from a learned start, with a learned step size."""

    def __init__(self, trouble=None):
        torch.manual_seed(7)
        self.module = nn.Module()
        self.module.start = nn.Parameter(torch.randn(3))
        self.module.rate = nn.Parameter(torch.tensor(0.1))
        self.module.unused = nn.Parameter(torch.ones(2))
        self.module.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.module.register_buffer("count", torch.zeros(()))
        self.module.register_buffer("mean", torch.zeros(3))
        self.trouble = trouble or (lambda iteration: None)

    def collect(self, rng):
        done = int(self.module.count) // TASKS + 1
        self.trouble(done)
        mine = list(distributed.share(TASKS))
        centres = torch.as_tensor(rng.normal(2.0, 1.0, size=(TASKS, 3)), dtype=torch.float32)
        centres = (centres + 0.1 * torch.randn(TASKS, 3))[mine]
        total = distributed.sum_(centres.sum(0))
        self.module.count += TASKS
        self.module.mean += (total / TASKS - self.module.mean) / done
        late = {"late/number": float(done)} if done >= 5 else {}
        old = self.module.start.detach().clone()
        return Batch((centres, old), 10 * TASKS, {"spread": float(centres.std()), **late})

    def loss(self, data):
        centres, old = data
        fast = self.module.start - self.module.rate * 2 * (self.module.start - centres)
        noise = 0.01 * torch.randn(())
        loss = (fast - centres).square().sum(-1).mean() + noise * self.module.start.sum()
        kl = 0.5 * (self.module.start - old).square().sum() + 0.5 * (self.module.rate - 0.1).square()
        return loss, {"kl": kl, "rate": self.module.rate}

    def evaluate(self, rng):
        return {
            "distance": float((self.module.start.detach() - torch.as_tensor(rng.normal(2.0, 1.0, 3))).norm())
        }


def make_optimizer(kind, module):
    named = dict(module.named_parameters())
    return (
        TrustRegion(named, 0.01)
        if kind == "trust"
        else GradientSteps(named, 0.05, epochs=2, max_grad_norm=5.0)
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--at", type=int, default=0)
    parser.add_argument("--signal", type=int, default=0)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--twice", action="store_true")
    args = parser.parse_args()

    def trouble(iteration):
        if iteration == args.at and distributed.rank() == args.rank and args.signal:
            for _ in range(1 + args.twice):
                os.kill(os.getpid(), args.signal)
                signal.getsignal(args.signal)  # a place for Python to run the handler

    distributed.start("cpu", timeout=20)
    algorithm = Quadratic(trouble)
    known = find(args.root)
    run = (
        known[0] if known else Run.create(args.root, "metarl/Toy-v0", "toy", 3, {"optimizer": args.optimizer})
    )
    schedule = Schedule(args.iterations * 10 * TASKS, seed=3, evaluate_every=3, checkpoint_every=4)
    train(algorithm, make_optimizer(args.optimizer, algorithm.module), schedule, run)


if __name__ == "__main__":
    main()
    distributed.end()
