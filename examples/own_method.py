"""A method of one's own on the core alone: few-shot regression of sine waves, as in the MAML paper.

A task is a sine wave of unknown amplitude and phase. The network sees ten points of it, takes a few inner steps, and
is judged on other points. Nothing of the suite but `adapt`, `over_tasks` and an update rule is used.

Run: python examples/own_method.py [--iterations 1500]    (some seconds)
"""

import argparse
import math

import torch
from torch.func import functional_call

from metarl import LearnedSGD, adapt, over_tasks

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--iterations", type=int, default=1500)
parser.add_argument("--steps", type=int, default=3, help="inner steps")
args = parser.parse_args()

torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Linear(1, 40), torch.nn.ReLU(), torch.nn.Linear(40, 40), torch.nn.ReLU(), torch.nn.Linear(40, 1)
)


def loss(params, data):
    """Mean squared error of one task; data is a pair (x, y), each of shape (points, 1)."""
    x, y = data
    own = {name: value for name, value in params.items() if not name.startswith("rule.")}
    return (functional_call(net, own, (x,)) - y).square().mean()


rule = LearnedSGD(lr=0.02, per="tensor")  # step sizes are meta-learned, one for each tensor and step
params = dict(net.named_parameters())
params |= {name: torch.nn.Parameter(value) for name, value in rule.init(params, args.steps).items()}


def task(params, episode):
    """Loss of one task after adaptation. `over_tasks` makes it a function of many."""
    support, query = episode
    return loss(adapt(params, loss, support, rule=rule, steps=args.steps), query)


def sample(num_tasks: int, shots: int = 10, queries: int = 20):
    """Support and query points of many tasks, each tensor of shape (num_tasks, points, 1)."""
    amplitude, phase = 0.1 + 4.9 * torch.rand(num_tasks, 1, 1), math.pi * torch.rand(num_tasks, 1, 1)
    x = 10 * torch.rand(num_tasks, shots + queries, 1) - 5
    y = amplitude * torch.sin(x - phase)
    return (x[:, :shots], y[:, :shots]), (x[:, shots:], y[:, shots:])


test_tasks = sample(200)


def error() -> float:
    """Mean loss on the same 200 tasks, after adaptation."""
    with torch.no_grad():
        return over_tasks(task)(params, test_tasks).mean().item()


optimizer = torch.optim.Adam(params.values(), lr=2e-3)
print(f"error after adaptation, before meta-training: {error():.3f}")
for iteration in range(1, args.iterations + 1):
    optimizer.zero_grad()
    over_tasks(task)(params, sample(25)).mean().backward()
    optimizer.step()
    if iteration % 500 == 0:
        print(f"after {iteration} iterations: {error():.3f}")
print(f"error after adaptation, after meta-training: {error():.3f}")
