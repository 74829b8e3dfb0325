"""Time and peak memory of one meta-step of every gradient-based few-shot method, beside the peers that have it.

    python benchmarks/meta_step.py --learn2learn PATH_OF_A_CHECKOUT [--methods maml anil ...]

A meta-step is the loss of 4 tasks (5-way 1-shot, 15 queries of each class, random images of 28x28) and its gradient by
everything the method learns, with 5 inner steps on Conv4-64, exact where the method's own preset is. VERSA and MLAP have
inner loops of other kinds and are timed as they are. Peers (`higher`, TorchOpt, learn2learn) run what they have: MAML and
ANIL all three, Meta-SGD and Meta-Curvature learn2learn. Those that are not installed are left out.

Contenders run interleaved in random order for the time. Peak memory is that of a process of its own: the highest resident
set (Linux) after a meta-step less that before it; on a GPU, the most that was allocated.
"""

import argparse
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).parent))
from meta_gradient import find_learn2learn, peer_versions, seconds, spread, usual_conv4

from metarl.configs import write_json
from metarl.memory import keep_freed_memory
from metarl.plots import markdown_table
from metarl.provenance import measurement
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import METHODS, build, preset
from metarl.supervised.methods.config import Backbone
from metarl.tasks import over_tasks

WAY, SHOT, QUERY, TASKS, STEPS, LR = 5, 1, 15, 4, 5, 0.4
NO_INNER_LOOP = {
    *("siamese", "triplet", "matching", "prototypical", "gaussian-prototypical", "relation", "tadam"),
    *("classifier-baseline", "meta-baseline", "nearest-centroid"),
}
RESULTS = Path(__file__).parent / "results" / "meta_step.json"
Step = Callable[[], Any]


def images(device: str) -> ClassStore:
    """Random images: 40 classes of 20."""
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (800, 1, 28, 28), dtype=torch.uint8, generator=draw)
    return ClassStore(pictures, torch.arange(41) * 20, [str(number) for number in range(40)]).to(device)


def drawn(device: str) -> Episode:
    """The tasks."""
    return EpisodeSampler(images(device), WAY, SHOT, QUERY).draw(TASKS, torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------------------------------- contenders


def ours(name: str, device: str) -> Step:
    """A method of this library."""
    config = preset(name, "omniglot", WAY, SHOT)
    training = replace(
        config.training, way=WAY, shot=SHOT, query=QUERY, tasks=TASKS, statistics="transductive"
    )
    config = replace(config, backbone=Backbone(), training=training)
    if hasattr(config, "inner"):
        config = replace(config, inner=replace(config.inner, steps=STEPS))
    torch.manual_seed(0)
    store = images(device)
    method = build(name, config, store.image, store.num_classes, WAY, SHOT)
    method.module.to(device)
    params = dict(method.module.named_parameters())
    episodes = drawn(device)
    batch: Any = None
    if method.stages:
        batch = method.stages[-1].draw(store, torch.Generator().manual_seed(1), 0.5)

    def task(params: Any, one: Episode) -> Any:
        return method.task(params, one, "transductive")[0]

    def run() -> list[Any]:
        loss = (
            method.stages[-1].loss(params, batch)[0]
            if method.stages
            else over_tasks(task)(params, episodes).mean()
        )
        return list(torch.autograd.grad(loss, list(params.values()), allow_unused=True))

    return run


def each_task(episodes: Episode) -> list[Episode]:
    """Tasks one by one."""
    return [pytree.tree_map(lambda part, i=i: part[i], episodes) for i in range(TASKS)]


def network(device: str) -> tuple[nn.Module, list[Episode]]:
    """Conv4-64 of torch's own layers, and the tasks."""
    torch.manual_seed(0)
    return usual_conv4().to(device), each_task(drawn(device))


def in_higher(method: str, device: str) -> Step:
    """facebookresearch/higher: MAML, and ANIL on features."""
    library = importlib.import_module("higher")
    net, tasks = network(device)
    body, fast_part = (net[:-1], net[-1]) if method == "anil" else (nn.Identity(), net)
    optimizer = torch.optim.SGD(fast_part.parameters(), lr=LR)

    def run() -> None:
        net.zero_grad(set_to_none=True)
        for one in tasks:
            support, query = body(one.support), body(one.query)
            with library.innerloop_ctx(fast_part, optimizer, copy_initial_weights=False) as (fast, inner):
                for _ in range(STEPS):
                    inner.step(F.cross_entropy(fast(support), one.support_labels))
                (F.cross_entropy(fast(query), one.query_labels) / TASKS).backward()

    return run


def in_torchopt(method: str, device: str) -> Step:
    """metaopt/torchopt: MAML, and ANIL on features."""
    library = importlib.import_module("torchopt")
    net, tasks = network(device)
    body, fast = (net[:-1], net[-1]) if method == "anil" else (nn.Identity(), net)
    inner = library.MetaSGD(fast, lr=LR)

    def run() -> None:
        net.zero_grad(set_to_none=True)
        start = [library.extract_state_dict(each, by="reference") for each in (fast, inner)]
        for one in tasks:
            support, query = body(one.support), body(one.query)
            for _ in range(STEPS):
                inner.step(F.cross_entropy(fast(support), one.support_labels))
            (F.cross_entropy(fast(query), one.query_labels) / TASKS).backward()
            for each, state in zip((fast, inner), start, strict=True):
                library.recover_state_dict(each, state)

    return run


def in_learn2learn(method: str, device: str) -> Step:
    """learnables/learn2learn: MAML, ANIL, Meta-SGD, and Meta-Curvature."""
    net, tasks = network(device)
    body, part = (net[:-1], net[-1]) if method == "anil" else (nn.Identity(), net)
    if method == "meta-sgd":
        learner = importlib.import_module("learn2learn.algorithms.meta_sgd").MetaSGD(part, lr=LR)
    elif method == "meta-curvature":
        package = importlib.import_module("learn2learn")  # its parts find one another through it
        for name in ("clone_module", "update_module"):
            setattr(package, name, getattr(importlib.import_module("learn2learn.utils"), name))
        package.optim = importlib.import_module("learn2learn.optim")
        transform = importlib.import_module("learn2learn.optim.transforms.metacurvature_transform")
        learner = importlib.import_module("learn2learn.algorithms.gbml").GBML(
            part, transform=transform.MetaCurvatureTransform, lr=LR, adapt_transform=False
        )
    else:
        learner = importlib.import_module("learn2learn.algorithms.maml").MAML(part, lr=LR)
    learner.to(device)

    def run() -> None:
        net.zero_grad(set_to_none=True)
        learner.zero_grad(set_to_none=True)
        for one in tasks:
            support, query = body(one.support), body(one.query)
            fast = learner.clone()
            for _ in range(STEPS):
                fast.adapt(F.cross_entropy(fast(support), one.support_labels))
            (F.cross_entropy(fast(query), one.query_labels) / TASKS).backward()

    return run


PEERS = {"higher": in_higher, "torchopt": in_torchopt, "learn2learn": in_learn2learn}
HAVE = {
    "maml": ("higher", "torchopt", "learn2learn"),
    "anil": ("higher", "torchopt", "learn2learn"),
    "meta-sgd": ("learn2learn",),
    "meta-curvature": ("learn2learn",),
}
"""Which peers have a method."""


def contender(method: str, who: str, args: argparse.Namespace) -> Step:
    """One library's version of a method, ready to run.

    Raises:
        ImportError: The library is not there, or does not run with this torch.
    """
    if who == "metarl":
        return ours(method, args.device)
    if who == "learn2learn" and args.learn2learn:
        find_learn2learn(args.learn2learn)
    return PEERS[who](method, args.device)


# --------------------------------------------------------------------------------------------- measurement


def peak(method: str, who: str, args: argparse.Namespace) -> float:
    """Bytes that a meta-step needs on top of what was there before, in this process."""
    run = contender(method, who, args)
    if args.device == "cuda":
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = highest_resident()
    run()
    return highest_resident() - before


def highest_resident() -> float:
    """Bytes of this process's largest resident set so far (`ru_maxrss` would be the parent's, where that was larger)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def peak_elsewhere(method: str, who: str, args: argparse.Namespace) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--peak", method, who, "--device", args.device]
    if args.threads:
        command += ["--threads", str(args.threads)]
    if args.learn2learn:
        command += ["--learn2learn", str(args.learn2learn)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(method: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of all contenders, interleaved, and their peaks of memory."""
    runs: dict[str, Step] = {}
    for who in ("metarl", *HAVE.get(method, ())):
        try:
            runs[who] = contender(method, who, args)
            runs[who]()
        except ImportError as error:
            print(f"{method} without {who}: {error}", flush=True)
            runs.pop(who, None)
    order, times = random.Random(args.seed), {who: [] for who in runs}
    for _ in range(args.rounds):
        for who in order.sample(list(runs), len(runs)):
            times[who].append(seconds(runs[who], args.device))
    peaks = {who: peak_elsewhere(method, who, args) for who in runs}
    found = {"method": method, "seconds": times, "spread": {who: spread(each) for who, each in times.items()}}
    for who, each in times.items():
        print(
            f"{method:16s} {who:12s} {statistics.median(each) * 1e3:9.1f} ms {peaks[who] / 2**20:9.1f} MiB",
            flush=True,
        )
    return {**found, "peak_bytes": peaks}


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table of medians."""
    rows = []
    for each in results:
        for who, times in each["seconds"].items():
            memory = each["peak_bytes"][who] / 2**20
            rows.append([each["method"], who, f"{statistics.median(times) * 1e3:.0f}", f"{memory:.0f}"])
    return markdown_table(["method", "library", "ms", "MiB"], rows)


def main() -> None:
    """Measure every method and write the JSON."""
    methods = [name for name in METHODS if name not in NO_INNER_LOOP]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--learn2learn", type=Path, help="a checkout or unpacked release of learn2learn")
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--threads", type=int, help="torch's intra-op threads, for everyone; default: torch's own"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peak", nargs=2, metavar=("METHOD", "LIBRARY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.peak:
        print(json.dumps(peak(*args.peak, args)))
        return
    keep_freed_memory()
    record: dict[str, Any] = {
        **measurement(),
        "device": args.device,
        "load_average": {"before": os.getloadavg()},
    }
    if args.learn2learn:
        record["command"] = record["command"].replace(str(args.learn2learn), args.learn2learn.name)
    record["results"] = []
    for name in args.methods:
        record["results"].append(measure(name, args))
        ran = {who: None for each in record["results"] for who in each["seconds"] if who != "metarl"}
        record["versions"] |= peer_versions(ran, args.learn2learn)
        record["load_average"]["after"] = os.getloadavg()
        write_json(args.out, record)
    print(f"\n{table(record['results'])}\n\nwritten: {args.out}")


if __name__ == "__main__":
    main()
