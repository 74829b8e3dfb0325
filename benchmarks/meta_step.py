"""Time and peak memory of one meta-step of every gradient-based few-shot method, beside the peers that have it.

    python benchmarks/meta_step.py --learn2learn PATH_OF_A_CHECKOUT [--methods maml anil ...]

A meta-step is the loss of 4 tasks (5-way 1-shot, 15 queries of each class, random images of 28x28) and its gradient by
everything the method learns, with 5 inner steps on Conv4-64, exact where the method's own preset is. VERSA and MLAP have
inner loops of other kinds and are timed as they are. Peers (`higher`, TorchOpt, learn2learn) run what they have: MAML and
ANIL all three, Meta-SGD and Meta-Curvature learn2learn. Those that are not installed are left out. All start from equal
weights, and their meta-gradients of these are first compared in float64.

Contenders run interleaved in random order and are compared within each round: by wall time, or on one thread
(`--threads 1`) by CPU time, to which other work on the machine adds little. Peak memory is that of processes of their
own: the highest resident set (Linux) after a meta-step less that before it; on a GPU, the most that was allocated.
"""

import argparse
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).parent))
from meta_gradient import difference, find_learn2learn, peer_versions, seconds, spread, usual_conv4

from metarl.configs import write_json
from metarl.memory import keep_freed_memory
from metarl.provenance import measurement
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.methods import METHODS, build, preset
from metarl.supervised.methods.config import Backbone
from metarl.supervised.methods.method import Method
from metarl.tasks import over_tasks

WAY, SHOT, QUERY, TASKS, STEPS, LR = 5, 1, 15, 4, 5, 0.4
NO_INNER_LOOP = {
    *("siamese", "triplet", "matching", "prototypical", "gaussian-prototypical", "relation", "tadam"),
    *("classifier-baseline", "meta-baseline", "nearest-centroid"),
}
WEIGHTS = 4 * 3 + 2
"""Parameters of the network and its head, which every method has first."""
RESULTS = Path(__file__).parent / "results" / "meta_step.json"
Step = Callable[[], list[Tensor]]
"""One meta-step; it gives the meta-gradient, that of the network's weights first."""


def images(device: str) -> ClassStore:
    """Random images: 40 classes of 20."""
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (800, 1, 28, 28), dtype=torch.uint8, generator=draw)
    return ClassStore(pictures, torch.arange(41) * 20, [str(number) for number in range(40)]).to(device)


def drawn(device: str, dtype: torch.dtype) -> Episode:
    """The tasks."""
    found = EpisodeSampler(images(device), WAY, SHOT, QUERY).draw(TASKS, torch.Generator().manual_seed(1))
    return pytree.tree_map(lambda part: part.to(dtype) if part.is_floating_point() else part, found)


# ---------------------------------------------------------------------------------------------- contenders


def fresh(name: str, device: str, dtype: torch.dtype) -> Method:
    """A method of this library on Conv4-64, the same whenever it is asked for."""
    config = preset(name, "omniglot", WAY, SHOT)
    training = replace(
        config.training, way=WAY, shot=SHOT, query=QUERY, tasks=TASKS, statistics="transductive"
    )
    config = replace(config, backbone=Backbone(), training=training)
    if hasattr(config, "inner"):
        config = replace(config, inner=replace(config.inner, steps=STEPS, lr=LR))
    torch.manual_seed(0)
    store = images("cpu")
    method = build(name, config, store.image, store.num_classes, WAY, SHOT)
    method.module.to(device, dtype)
    return method


def ours(name: str, device: str, dtype: torch.dtype) -> Step:
    """A method of this library."""
    method = fresh(name, device, dtype)
    params = dict(method.module.named_parameters())
    learned = [value for value in params.values() if value.requires_grad]
    episodes = drawn(device, dtype)
    batch: Any = None
    if method.stages:
        batch = method.stages[-1].draw(images(device), torch.Generator().manual_seed(1), 0.5)

    def task(params: Any, one: Episode) -> Any:
        return method.task(params, one, "transductive")[0]

    def run() -> list[Tensor]:
        loss = (
            method.stages[-1].loss(params, batch)[0]
            if method.stages
            else over_tasks(task)(params, episodes).mean()
        )
        return list(torch.autograd.grad(loss, learned, allow_unused=True))

    return run


def each_task(episodes: Episode) -> list[Episode]:
    """Tasks one by one."""
    return [pytree.tree_map(lambda part, i=i: part[i], episodes) for i in range(TASKS)]


def network(method: str, device: str, dtype: torch.dtype) -> tuple[nn.Module, list[Episode]]:
    """Conv4-64 of torch's own layers with the weights of ours, and the tasks."""
    net = usual_conv4().to(device, dtype)
    own = list(fresh(method, device, dtype).module.parameters())[:WEIGHTS]
    with torch.no_grad():
        for theirs, value in zip(net.parameters(), own, strict=True):
            theirs.copy_(value)
    return net, each_task(drawn(device, dtype))


def gradients(net: nn.Module) -> list[Tensor]:
    """What a backward pass left at the weights."""
    return [value.grad for value in net.parameters()]


def in_higher(method: str, device: str, dtype: torch.dtype) -> Step:
    """facebookresearch/higher: MAML, and ANIL on features."""
    library = importlib.import_module("higher")
    net, tasks = network(method, device, dtype)
    body, fast_part = (net[:-1], net[-1]) if method == "anil" else (nn.Identity(), net)
    optimizer = torch.optim.SGD(fast_part.parameters(), lr=LR)

    def run() -> list[Tensor]:
        net.zero_grad(set_to_none=True)
        for one in tasks:
            support, query = body(one.support), body(one.query)
            with library.innerloop_ctx(fast_part, optimizer, copy_initial_weights=False) as (fast, inner):
                for _ in range(STEPS):
                    inner.step(F.cross_entropy(fast(support), one.support_labels))
                (F.cross_entropy(fast(query), one.query_labels) / TASKS).backward()
        return gradients(net)

    return run


def in_torchopt(method: str, device: str, dtype: torch.dtype) -> Step:
    """metaopt/torchopt: MAML, and ANIL on features."""
    library = importlib.import_module("torchopt")
    net, tasks = network(method, device, dtype)
    body, fast = (net[:-1], net[-1]) if method == "anil" else (nn.Identity(), net)
    inner = library.MetaSGD(fast, lr=LR)

    def run() -> list[Tensor]:
        net.zero_grad(set_to_none=True)
        start = [library.extract_state_dict(each, by="reference") for each in (fast, inner)]
        for one in tasks:
            support, query = body(one.support), body(one.query)
            for _ in range(STEPS):
                inner.step(F.cross_entropy(fast(support), one.support_labels))
            (F.cross_entropy(fast(query), one.query_labels) / TASKS).backward()
            for each, state in zip((fast, inner), start, strict=True):
                library.recover_state_dict(each, state)
        return gradients(net)

    return run


def in_learn2learn(method: str, device: str, dtype: torch.dtype) -> Step:
    """learnables/learn2learn: MAML, ANIL, Meta-SGD, and Meta-Curvature."""
    net, tasks = network(method, device, dtype)
    body, part = (net[:-1], net[-1]) if method == "anil" else (nn.Identity(), net)
    if method == "meta-sgd":
        learner = importlib.import_module("learn2learn.algorithms.meta_sgd").MetaSGD(
            part, lr=float(torch.tensor(LR))
        )
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
    learner.to(device, dtype)

    def run() -> list[Tensor]:
        net.zero_grad(set_to_none=True)
        learner.zero_grad(set_to_none=True)
        for one in tasks:
            support, query = body(one.support), body(one.query)
            fast = learner.clone()
            for _ in range(STEPS):
                fast.adapt(F.cross_entropy(fast(support), one.support_labels))
            (F.cross_entropy(fast(query), one.query_labels) / TASKS).backward()
        return gradients(net)

    return run


PEERS = {"higher": in_higher, "torchopt": in_torchopt, "learn2learn": in_learn2learn}
HAVE = {
    "maml": ("higher", "torchopt", "learn2learn"),
    "anil": ("higher", "torchopt", "learn2learn"),
    "meta-sgd": ("learn2learn",),
    "meta-curvature": ("learn2learn",),
}
"""Which peers have a method."""


def contender(method: str, who: str, args: argparse.Namespace, dtype: torch.dtype = torch.float32) -> Step:
    """One library's version of a method, ready to run.

    Raises:
        ImportError: The library is not there, or does not run with this torch.
    """
    if who == "metarl":
        return ours(method, args.device, dtype)
    if who == "learn2learn" and args.learn2learn:
        find_learn2learn(args.learn2learn)
    return PEERS[who](method, args.device, dtype)


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


def those_there(method: str, args: argparse.Namespace) -> list[str]:
    """This library, and the peers that have a method and can be imported."""
    found = []
    for who in ("metarl", *HAVE.get(method, ())):
        try:
            contender(method, who, args)
            found.append(who)
        except ImportError as error:
            print(f"{method} without {who}: {error}", flush=True)
    return found


def agreement(method: str, peers: list[str], args: argparse.Namespace) -> dict[str, float]:
    """Relative difference of our float64 meta-gradient of the network's weights to each peer's."""
    if not peers:
        return {}
    own = [each.clone() for each in contender(method, "metarl", args, torch.float64)()[:WEIGHTS]]
    return {who: difference(own, contender(method, who, args, torch.float64)()) for who in peers}


def by_cpu(args: argparse.Namespace) -> bool:
    """Whether CPU time is what counts."""
    return args.device == "cpu" and args.threads == 1


def timed(run: Step, args: argparse.Namespace) -> float:
    """Seconds of one meta-step."""
    if not by_cpu(args):
        return seconds(run, args.device)
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(method: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of all contenders, interleaved, and their peaks of memory."""
    names = those_there(method, args)
    peers = [who for who in names if who != "metarl"]
    agree = agreement(method, peers, args)
    runs = {who: contender(method, who, args) for who in names}
    for run in runs.values():
        run()
    order, rounds = random.Random(args.seed), []
    for _ in range(args.rounds):
        rounds.append({who: timed(runs[who], args) for who in order.sample(names, len(names))})
    times = {who: [each[who] for each in rounds] for who in names}
    peaks = {who: [peak_elsewhere(method, who, args) for _ in range(args.peaks)] for who in names}
    memory = {who: statistics.median(each) for who, each in peaks.items()}
    found = {
        "method": method,
        "difference_float64": agree,
        "seconds": times,
        "spread": {who: spread(each) for who, each in times.items()},
        "ratio": {who: spread([each[who] / each["metarl"] for each in rounds]) for who in peers},
        "peak_bytes": peaks,
        "memory_ratio": {who: memory[who] / memory["metarl"] for who in peers},
    }
    for who in names:
        line = f"{method:16s} {who:12s} {found['spread'][who]['median'] * 1e3:9.1f} ms"
        line += f" {memory[who] / 2**20:9.1f} MiB"
        if who in peers:
            line += f"   x{found['ratio'][who]['median']:.2f}, memory x{found['memory_ratio'][who]:.2f}"
            line += f"   gradients differ by {agree[who]:.1e}"
        print(line, flush=True)
    return found


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
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--peaks", type=int, default=3, help="processes whose memory is measured, for each")
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
        "clock": "cpu" if by_cpu(args) else "wall",
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
    print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    main()
