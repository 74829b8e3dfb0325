"""Time of one exact MAML meta-gradient, side by side with `higher`, TorchOpt and learn2learn.

    python benchmarks/meta_gradient.py --learn2learn PATH_OF_A_CHECKOUT

Peers that are not installed are left out. All contenders get the same weights and data, run interleaved in
random order, and are compared within each round; first their gradients are shown to agree in float64. The
peers' networks are the usual ones: `nn.Conv2d`, `nn.BatchNorm2d`, `nn.ReLU`, `nn.MaxPool2d`.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import random
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl import provenance
from metarl.adaptation import adapt
from metarl.nn import MLP, stateless
from metarl.supervised.backbones import Conv4
from metarl.tasks import over_tasks
from metarl.update_rules import SGD

CASES = {
    f"conv4 {tasks} tasks {steps} steps": ("conv4", tasks, steps) for tasks in (8, 32) for steps in (1, 5)
} | {f"policy 20 tasks {steps} steps": ("policy", 20, steps) for steps in (1, 5)}
LR = {"conv4": 0.4, "policy": 0.1}
Contender = Callable[[], list[Tensor]]


# ------------------------------------------------------------------------------------------------ problems


def usual_conv4() -> nn.Module:
    """Conv4-64 as every library writes it, with our parameter order."""
    blocks = [
        nn.Sequential(
            nn.Conv2d(1 if i == 0 else 64, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64, track_running_stats=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        for i in range(4)
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(64, 5))


def our_conv4() -> nn.Module:
    """The same of metarl's layers."""
    return nn.Sequential(Conv4(), nn.Linear(64, 5))


class UsualPolicy(nn.Module):
    """Gaussian policy with two hidden layers of 64 tanh units: 20 observations, 6 actions."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Sequential(
            nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 6)
        )
        self.log_std = nn.Parameter(torch.zeros(6))

    def forward(self, obs):
        """Mean and log standard deviation of the actions."""
        return self.mean(obs), self.log_std


class OurPolicy(nn.Module):
    """The same of metarl's layers."""

    def __init__(self):
        super().__init__()
        self.mean = MLP((20, 64, 64, 6))
        self.log_std = nn.Parameter(torch.zeros(6))

    def forward(self, obs):
        """Mean and log standard deviation of the actions."""
        return self.mean(obs), self.log_std


def classification(scores: Tensor, data: tuple[Tensor, ...]) -> Tensor:
    """Cross-entropy; data: images, labels."""
    return F.cross_entropy(scores, data[1])


def surrogate(output: tuple[Tensor, Tensor], data: tuple[Tensor, ...]) -> Tensor:
    """Policy gradient by likelihood ratio; data: observations, actions, advantages, log-probabilities."""
    mean, log_std = output
    _, actions, advantages, sampled = data
    log_prob = (-0.5 * ((actions - mean) * (-log_std).exp()).square() - log_std).sum(-1)
    return -((log_prob - sampled).exp() * advantages).mean()


def draw(kind: str, tasks: int, like: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Support and query of all tasks: 5-way 1-shot with 15 queries, or 20 trajectories of 100 steps."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(tasks, *shape, generator=generator, dtype=torch.float64).to(like)

    if kind == "conv4":
        labels = [(torch.arange(n) % 5).expand(tasks, n).contiguous().to(like.device) for n in (5, 75)]
        return (normal(5, 1, 28, 28), labels[0]), (normal(75, 1, 28, 28), labels[1])

    def trajectories() -> tuple[Tensor, ...]:
        actions = normal(2000, 6)
        return normal(2000, 20), actions, normal(2000), (-0.5 * actions.square()).sum(-1)

    return trajectories(), trajectories()


class Problem:
    """One case: weights, data, loss, and a fresh network for each contender."""

    def __init__(self, kind: str, tasks: int, steps: int, device: str, dtype: torch.dtype):
        self.kind, self.tasks, self.steps, self.lr = kind, tasks, steps, LR[kind]
        self.loss = classification if kind == "conv4" else surrogate
        self.place = {"device": device, "dtype": dtype}
        torch.manual_seed(0)
        self.ours = (our_conv4() if kind == "conv4" else OurPolicy()).to(**self.place)
        self.support, self.query = draw(kind, tasks, next(self.ours.parameters()))

    def usual(self) -> nn.Module:
        """A network of torch's own layers with the weights of ours."""
        net = (usual_conv4() if self.kind == "conv4" else UsualPolicy()).to(**self.place)
        with torch.no_grad():
            for a, b in zip(net.parameters(), self.ours.parameters(), strict=True):
                a.copy_(b)
        return net

    def each(self):
        """Support and query, task by task."""
        for t in range(self.tasks):
            yield tuple(v[t] for v in self.support), tuple(v[t] for v in self.query)


def cleared(net: nn.Module) -> list[nn.Parameter]:
    """The parameters, without a gradient."""
    net.zero_grad(set_to_none=True)
    return list(net.parameters())


# ---------------------------------------------------------------------------------------------- contenders


def metarl(problem: Problem, how: str = "auto") -> Contender:
    """This library."""
    f, params = stateless(problem.ours), dict(problem.ours.named_parameters())

    def loss(params, data):
        return problem.loss(f(params, data[0]), data)

    def task(params, episode):
        return loss(adapt(params, loss, episode[0], rule=SGD(lr=problem.lr), steps=problem.steps), episode[1])

    def run() -> list[Tensor]:
        cleared(problem.ours)
        over_tasks(task, how=how)(params, (problem.support, problem.query)).mean().backward()
        return [value.grad for value in params.values()]

    return run


def higher(problem: Problem) -> Contender:
    """facebookresearch/higher: a patched copy of the module and a differentiable SGD."""
    library, net = importlib.import_module("higher"), problem.usual()
    optimizer = torch.optim.SGD(net.parameters(), lr=problem.lr)

    def run() -> list[Tensor]:
        params = cleared(net)
        for support, query in problem.each():
            with library.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (fast, inner):
                for _ in range(problem.steps):
                    inner.step(problem.loss(fast(support[0]), support))
                (problem.loss(fast(query[0]), query) / problem.tasks).backward()
        return [value.grad for value in params]

    return run


def torchopt(problem: Problem) -> Contender:
    """metaopt/torchopt: MetaSGD, with the parameters put back after each task."""
    library, net = importlib.import_module("torchopt"), problem.usual()
    inner = library.MetaSGD(net, lr=problem.lr)

    def run() -> list[Tensor]:
        params = cleared(net)
        start = (
            library.extract_state_dict(net, by="reference"),
            library.extract_state_dict(inner, by="reference"),
        )
        for support, query in problem.each():
            for _ in range(problem.steps):
                inner.step(problem.loss(net(support[0]), support))
            (problem.loss(net(query[0]), query) / problem.tasks).backward()
            library.recover_state_dict(net, start[0])
            library.recover_state_dict(inner, start[1])
        return [value.grad for value in params]

    return run


def learn2learn(problem: Problem) -> Contender:
    """learnables/learn2learn: MAML, a clone of the module per task."""
    net = problem.usual()
    maml = importlib.import_module("learn2learn.algorithms.maml").MAML(net, lr=problem.lr)

    def run() -> list[Tensor]:
        params = cleared(net)
        for support, query in problem.each():
            learner = maml.clone()
            for _ in range(problem.steps):
                learner.adapt(problem.loss(learner(support[0]), support))
            (problem.loss(learner(query[0]), query) / problem.tasks).backward()
        return [value.grad for value in params]

    return run


PEERS = {"higher": higher, "torchopt": torchopt, "learn2learn": learn2learn}


def find_learn2learn(path: Path) -> None:
    """Make the MAML of a learn2learn checkout importable without the rest of it, which needs old packages."""
    for name in ("learn2learn", "learn2learn.algorithms"):
        package = types.ModuleType(name)
        package.__path__ = [str(path.joinpath(*name.split(".")))]
        sys.modules[name] = package


def available(learn2learn_path: Path | None) -> dict[str, Callable[[Problem], Contender]]:
    """The peers that can be imported."""
    if learn2learn_path:
        find_learn2learn(learn2learn_path)
    found = {}
    for name, make in PEERS.items():
        try:
            importlib.import_module("learn2learn.algorithms.maml" if name == "learn2learn" else name)
            found[name] = make
        except ImportError as error:
            print(f"without {name}: {error}")
    return found


# --------------------------------------------------------------------------------------------- measurement


def difference(a: list[Tensor], b: list[Tensor]) -> float:
    """Largest difference relative to the largest entry."""
    scale = max(float(value.abs().max()) for value in b)
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)) / scale


def seconds(run: Contender, device: str) -> float:
    """Wall time of one meta-gradient."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles, and a 95 % bootstrap interval of the median."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values * 3)
    return {
        "median": statistics.median(values),
        "quartile_low": low,
        "quartile_high": high,
        "interval_low": medians[49],
        "interval_high": medians[1949],
    }


def agreement(kind: str, steps: int, device: str, peers: dict) -> dict[str, float]:
    """Relative difference of our float64 meta-gradient to each peer's, on two tasks."""
    problem = Problem(kind, 2, steps, device, torch.float64)
    ours = [grad.clone() for grad in metarl(problem)()]
    return {name: difference(ours, make(problem)()) for name, make in peers.items()}


def measure(name: str, args: argparse.Namespace, peers: dict) -> dict:
    """One case: agreement, then interleaved rounds."""
    kind, tasks, steps = CASES[name]
    agree = agreement(kind, steps, args.device, peers)
    problem = Problem(kind, tasks, steps, args.device, torch.float32)
    contenders = {"metarl": metarl(problem, args.how)} | {peer: make(problem) for peer, make in peers.items()}
    for run in contenders.values():
        run()
    rounds = []
    order = random.Random(args.seed)
    began = time.perf_counter()
    while len(rounds) < args.rounds and (len(rounds) < 3 or time.perf_counter() - began < args.seconds):
        names = order.sample(list(contenders), len(contenders))
        rounds.append({each: seconds(contenders[each], args.device) for each in names})
    times = {each: [r[each] for r in rounds] for each in contenders}
    best = [min((r[peer] for peer in peers), default=float("nan")) / r["metarl"] for r in rounds]
    ratios = {peer: spread([r[peer] / r["metarl"] for r in rounds]) for peer in peers}
    result = {"case": name, "difference_float64": agree, "ratio": ratios, "seconds": times}
    if peers:
        result["ratio_to_fastest_peer_of_each_round"] = spread(best)
    print_case(result)
    return result


def print_case(result: dict) -> None:
    """One line per contender."""
    print(f"\n{result['case']}")
    for each, values in result["seconds"].items():
        line = f"  {each:12s} {statistics.median(values) * 1e3:9.1f} ms"
        if each in result["ratio"]:
            r = result["ratio"][each]
            line += f"   x{r['median']:.2f} [{r['interval_low']:.2f}, {r['interval_high']:.2f}]"
            line += f"   gradients differ by {result['difference_float64'][each]:.1e}"
        print(line, flush=True)


def main() -> None:
    """Run every case and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--learn2learn", type=Path, help="a checkout or unpacked release of learn2learn")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--how", default="auto", help="how over_tasks runs: auto, vmap, loop or threads")
    parser.add_argument(
        "--threads", type=int, help="torch's intra-op threads, for everyone; default: torch's own"
    )
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="stop a case after this long, with 3 rounds done"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "meta_gradient.json")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if args.threads:
        torch.set_num_threads(args.threads)
    peers = available(args.learn2learn)
    measured = provenance.measurement()
    if args.learn2learn:  # the reader's path will be another
        measured["command"] = measured["command"].replace(str(args.learn2learn), args.learn2learn.name)
    record = {
        **measured,
        "versions": measured["versions"] | peer_versions(peers, args.learn2learn),
        "environment": {name: value for name, value in os.environ.items() if name.startswith("OMP_")},
        "load_average": {"before": os.getloadavg()},
        "device": args.device,
        "results": [],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name in args.cases:
        record["results"].append(measure(name, args, peers))
        record["load_average"]["after"] = os.getloadavg()
        args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten: {args.out}")


def peer_versions(peers: dict, learn2learn_path: Path | None) -> dict[str, str]:
    """Versions of the peers that ran."""
    found = {}
    for name in peers:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = learn2learn_path.name if name == "learn2learn" and learn2learn_path else "unknown"
    return found


if __name__ == "__main__":
    main()
