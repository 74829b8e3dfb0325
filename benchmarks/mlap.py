"""MLAP: how a prior that is learned from tasks makes new ones easier, and whether its bounds hold.

    python benchmarks/mlap.py [--tasks 2 5 10 20] [--seeds 0]

Ten made-up characters (`strokes`, generated, in 14x14 pixels; no MNIST), as many drawings as are needed, in tasks with
permuted labels (a small convolutional network) or with 50 swapped pairs of pixels (a perceptron). A prior of all weights
is learned from n tasks (`metarl.supervised.gaussian_weights`). Then each of some new tasks gets a posterior from m
drawings, by the bound of one task, and its error is measured on drawings that nobody has seen. Three kinds of drawings
are kept apart: for the tasks that the prior comes from, for new tasks, and for errors.

Beside each error stands a certificate: a bound of the error of weights drawn from the posterior that holds with
probability 0.89, from the errors on the m drawings and from KL(posterior | prior) alone. "start" is a prior that nothing
was learned for, "scratch" a network trained on the m drawings alone, "warm" one that was first trained on a single task.
"""

import argparse
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.configs import write_json
from metarl.meta_optimizers import GradientSteps
from metarl.nn import MLP, ConvBlock, stateless
from metarl.provenance import measurement
from metarl.supervised.datasets.strokes import drawings
from metarl.supervised.gaussian_weights import (
    Gaussians,
    posterior_objective,
    prior_objective,
    standard_normal,
    starting,
)
from metarl.supervised.pac_bayes import certificate, gaussian_kl
from metarl.supervised.permuted_tasks import Disguise, Labelled, disguises
from metarl.tables import markdown_table

CLASSES, SIZE, SWAPS = 10, 14, 50
DELTA, DRAWS, DRAWS_DELTA = 0.1, 200, 0.01
HYPER_SPREAD = 1e-3
LOG_VARIANCE, LR = -4.0, 1e-2
"""Where logarithms of variances start (the authors' -10 is for trainings that are far longer), and the step size."""
BATCH, TOGETHER = 64, 5
"""Drawings of a task, and tasks, of one update."""
RESULTS = Path(__file__).parent / "results" / "mlap.json"


class Net:
    """A network for one environment, as a function of its weights."""

    def __init__(self, environment: str, seed: int):
        torch.manual_seed(seed)
        if environment == "permuted-labels":
            blocks = [ConvBlock(a, b, "none", act="elu") for a, b in ((1, 10), (10, 20))]
            self.module = nn.Sequential(*blocks, nn.Flatten(), MLP((180, 50, CLASSES), "elu"))
        else:
            self.module = nn.Sequential(nn.Flatten(), MLP((SIZE**2, 100, 100, CLASSES), "elu"))
        self.scores = stateless(self.module)
        self.weights = {name: each.detach().clone() for name, each in self.module.named_parameters()}

    def loss(self, weights: dict[str, Tensor], data: Labelled) -> Tensor:
        """Mean cross-entropy."""
        return F.cross_entropy(self.scores(weights, data.images), data.labels)

    @torch.no_grad()
    def error(self, weights: dict[str, Tensor], data: Labelled) -> float:
        """Share of wrong answers."""
        return float((self.scores(weights, data.images).argmax(1) != data.labels).double().mean())


class Pools:
    """Drawings for three purposes."""

    def __init__(self, seed: int, sizes: dict[str, int]):
        store = drawings(CLASSES, sum(sizes.values()) // CLASSES, seed, SIZE)
        rows = torch.randperm(len(store), generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(CLASSES).repeat_interleave(len(store) // CLASSES)
        parts = rows.split(list(sizes.values()))
        self.of = {
            name: Labelled(store.pictures(part), labels[part])
            for name, part in zip(sizes, parts, strict=True)
        }

    def drawn(self, pool: str, number: int, disguise: Disguise, generator: torch.Generator) -> Labelled:
        """Some drawings of a pool, as a task has them."""
        images, labels = self.of[pool]
        rows = torch.randperm(len(labels), generator=generator)[:number]
        return disguise.of(Labelled(images[rows], labels[rows]))


def part_of(data: Labelled, generator: torch.Generator) -> Labelled:
    """A batch of a task's drawings."""
    rows = torch.randperm(len(data.labels), generator=generator)[:BATCH]
    return Labelled(data.images[rows], data.labels[rows])


def leaves(gaussians: Gaussians) -> Gaussians:
    """A copy to be trained."""
    return Gaussians(
        *({name: each.detach().clone().requires_grad_() for name, each in part.items()} for part in gaussians)
    )


def learned_prior(
    net: Net, tasks: list[Labelled], bound: str, steps: int, seed: int
) -> tuple[Gaussians, dict[str, Any]]:
    """Learn a prior from tasks, with a posterior for each; and the bound of the error on tasks to come."""
    generator = torch.Generator().manual_seed(seed)
    prior = leaves(starting(net.weights, generator, LOG_VARIANCE))
    posteriors = [leaves(starting(net.weights, generator, LOG_VARIANCE)) for _ in tasks]
    named = prior.named("prior.")
    for number, each in enumerate(posteriors):
        named |= each.named(f"{number}.")
    optimizer = GradientSteps(named, LR)
    samples, count = len(tasks[0].labels), len(tasks)

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randperm(count, generator=generator)[:TOGETHER].tolist()
        some = [posteriors[i] for i in chosen]
        noise = [standard_normal(net.weights, generator) for _ in chosen]
        parts = [part_of(tasks[i], generator) for i in chosen]
        losses = [net.loss(q.draw(e), part) for q, e, part in zip(some, noise, parts, strict=True)]
        shift = {name: HYPER_SPREAD * each for name, each in standard_normal(net.weights, generator).items()}
        value = prior_objective(bound, losses, some, prior, samples, count, delta=DELTA, shift=shift)
        return value, {"loss": torch.stack(losses).mean()}

    for _ in range(steps):
        last = optimizer.update(step)
    found = Gaussians(*({name: each.detach() for name, each in part.items()} for part in prior))
    with torch.no_grad():
        errors = [
            torch.tensor(gibbs_error(net, q, task, 20, generator), dtype=torch.float64)
            for q, task in zip(posteriors, tasks, strict=True)
        ]
        transfer = {
            key: float(
                prior_objective("seeger", errors, posteriors, found, samples, count, delta=DELTA, whole=whole)
            )
            for key, whole in (("authors_constant", False), ("certificate", True))
        }
    return found, {"loss": last["loss"], "transfer_bound": transfer, "log_variance": by_layer(found)}


def by_layer(prior: Gaussians) -> dict[str, float]:
    """Mean logarithm of the variances of every weight tensor."""
    return {name: float(each.mean()) for name, each in prior.log_var.items() if name.endswith("weight")}


@torch.no_grad()
def gibbs_error(
    net: Net, posterior: Gaussians, data: Labelled, draws: int, generator: torch.Generator
) -> float:
    """Mean error over draws of weights."""
    return mean(
        net.error(posterior.draw(standard_normal(posterior.mean, generator)), data) for _ in range(draws)
    )


def posterior_of(
    net: Net, prior: Gaussians, data: Labelled, bound: str, steps: int, generator: torch.Generator
) -> Gaussians:
    """Fit a posterior to a new task, from the prior on."""
    posterior = leaves(prior)
    optimizer = GradientSteps(posterior.named(""), LR)

    def step() -> tuple[Tensor, dict[str, Tensor]]:
        weights = posterior.draw(standard_normal(net.weights, generator))
        loss = net.loss(weights, part_of(data, generator))
        return posterior_objective(bound, loss, posterior, prior, len(data.labels), delta=DELTA), {}

    for _ in range(steps):
        optimizer.update(step)
    return Gaussians(*({name: each.detach() for name, each in part.items()} for part in posterior))


def trained(
    net: Net, start: dict[str, Tensor], data: Labelled, steps: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Plain training on a task."""
    weights = {name: each.clone().requires_grad_() for name, each in start.items()}
    optimizer = GradientSteps(weights, 1e-3)
    for _ in range(steps):
        optimizer.update(lambda: (net.loss(weights, part_of(data, generator)), {}))
    return {name: each.detach() for name, each in weights.items()}


def judged(
    net: Net, prior: Gaussians, bound: str, new: list[tuple[Labelled, Labelled]], steps: int, seed: int
) -> dict[str, list[float]]:
    """Errors and certificates on new tasks, each with drawings to learn from and drawings to be judged on."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {key: [] for key in ("error", "gibbs_error", "bound", "kl", "seen_error")}
    for data, unseen in new:
        posterior = posterior_of(net, prior, data, bound, steps, generator)
        kl = float(gaussian_kl(posterior.mean, posterior.log_var, prior.mean, prior.log_var))
        seen = gibbs_error(net, posterior, data, DRAWS, generator)
        found["error"].append(net.error(posterior.mean, unseen))
        found["gibbs_error"].append(gibbs_error(net, posterior, unseen, 20, generator))
        found["seen_error"].append(seen)
        found["kl"].append(kl)
        found["bound"].append(
            certificate(seen, kl, len(data.labels), DELTA, draws=DRAWS, draws_delta=DRAWS_DELTA)
        )
    return found


def environment_rows(environment: str, seed: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Everything that is measured in one environment with one seed."""
    pools = Pools(seed, {"tasks": 10_000, "new": 4_000, "judging": 2_000})
    net, most = Net(environment, seed), max(args.tasks)
    tasks = disguises(environment, most + args.new, CLASSES, SIZE**2, seed, SWAPS)
    generator = torch.Generator().manual_seed(seed)
    old = [pools.drawn("tasks", args.samples, each, generator) for each in tasks[:most]]
    new = [
        (pools.drawn("new", args.new_samples, each, generator), each.of(pools.of["judging"]))
        for each in tasks[most:]
    ]
    about = {
        "environment": environment,
        "seed": seed,
        "weights": sum(each.numel() for each in net.weights.values()),
    }
    rows = [{**about, "method": "scratch", "tasks": 0, **plain(net, net.weights, new, args, generator)}]
    warm = trained(net, net.weights, old[0], args.steps, generator)
    rows.append({**about, "method": "warm", "tasks": 1, **plain(net, warm, new, args, generator)})
    start = starting(net.weights, generator, LOG_VARIANCE)
    rows.append(
        {
            **about,
            "method": "start, seeger",
            "tasks": 0,
            **judged(net, start, "seeger", new, args.new_steps, seed),
        }
    )
    wanted = [(n, "seeger") for n in args.tasks] + [(args.compared, bound) for bound in args.bounds]
    for number, bound in wanted:
        began = time.perf_counter()
        prior, learned = learned_prior(net, old[:number], bound, steps_for(number, args.steps), seed)
        found = judged(net, prior, bound, new, args.new_steps, seed)
        row = {**about, "method": f"MLAP, {bound}", "tasks": number, **found, "prior": learned}
        rows.append({**row, "seconds": time.perf_counter() - began})
        print(line(rows[-1]), flush=True)
    return rows


def steps_for(tasks: int, steps: int) -> int:
    """Updates of a prior: every task's posterior has as many, however many tasks there are."""
    return round(steps * max(1, tasks / TOGETHER))


def plain(
    net: Net,
    start: dict[str, Tensor],
    new: list[tuple[Labelled, Labelled]],
    args: argparse.Namespace,
    generator: torch.Generator,
) -> dict[str, list[float]]:
    """Errors of plain training on new tasks."""
    return {
        "error": [
            net.error(trained(net, start, data, args.new_steps, generator), unseen) for data, unseen in new
        ]
    }


def line(row: dict[str, Any]) -> str:
    """One result in words."""
    bound = f", certified {mean(row['bound']):.3f}" if "bound" in row else ""
    what = f"{row['environment']}, seed {row['seed']}, {row['method']}, n = {row['tasks']}"
    return f"{what}: error {mean(row['error']):.4f}{bound}"


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table; errors in per cent, means over new tasks and seeds."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["environment"], row["method"], row["tasks"]), []).append(row)
    lines = []
    for (environment, method, number), some in groups.items():
        cells = [environment, method, str(number)]
        for key in ("error", "gibbs_error", "bound"):
            values = [each for row in some for each in row.get(key, [])]
            cells.append(f"{100 * mean(values):.1f}" if values else "–")
        kls = [each for row in some for each in row.get("kl", [])]
        lines.append([*cells, f"{mean(kls):.0f}" if kls else "–"])
    heads = ["tasks with", "method", "n", "error, %", "of drawn weights, %", "certified, %", "KL, nats"]
    return markdown_table(heads, lines)


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", nargs="+", default=["permuted-labels", "swapped-pixels"])
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 5, 10, 20], help="n, 2 or more each")
    parser.add_argument("--compared", type=int, default=5, help="n with which bounds are compared")
    parser.add_argument("--bounds", nargs="*", default=["mcallester", "variational"])
    parser.add_argument(
        "--samples", type=int, default=600, help="drawings of a task that the prior is learned from"
    )
    parser.add_argument("--new-samples", type=int, default=600, help="m of a new task")
    parser.add_argument("--new", type=int, default=8, help="new tasks")
    parser.add_argument("--steps", type=int, default=1000, help="updates of each posterior with a prior")
    parser.add_argument("--new-steps", type=int, default=300, help="updates of a posterior")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if min(args.tasks) < 2:
        parser.error(f"a prior is learned from 2 tasks or more, got {min(args.tasks)}")
    began = time.process_time()
    rows = [
        row for name in args.environments for seed in args.seeds for row in environment_rows(name, seed, args)
    ]
    broken = [
        line(row)
        for row in rows
        if any(g > b for g, b in zip(row.get("gibbs_error", []), row.get("bound", []), strict=True))
    ]
    settings = {key: value for key, value in vars(args).items() if key != "out"}
    record = {**measurement(), "settings": {**settings, "delta": DELTA + DRAWS_DELTA, "draws": DRAWS}}
    record |= {"cpu_seconds": time.process_time() - began, "bounds_broken": broken, "rows": rows}
    print(f"\n{table(rows)}\n")
    print(f"bounds below an error: {len(broken)} of {sum(len(row.get('bound', [])) for row in rows)}")
    write_json(args.out, record)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
