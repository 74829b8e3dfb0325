"""Time of an update of a few-shot training on a GPU: its work replayed from a CUDA graph, beside launched anew.

    python benchmarks/cuda_graphs.py [--methods maml prototypical ...] [--data omniglot mini-imagenet]

Both train from equal weights on equal batches by the preset of the method, 5-way 1-shot; images are random, of the shapes
of the data set. An update is everything that training does but drawing episodes: loss, gradient, step, checks. The two
take turns, and are compared within each round. Losses of the first updates are compared, too: they must agree.

Without a GPU there is nothing to record, and the program says so; `--device cpu` runs it all the same, to try it out.
"""

import argparse
import math
import random
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from meta_gradient import spread
from speed_tables import cuda_graphs

from metarl.configs import write_json
from metarl.provenance import measurement
from metarl.supervised.class_store import ClassStore
from metarl.supervised.experiment import FewShotExperiment
from metarl.supervised.methods import METHODS, build, preset
from metarl.supervised.training import FewShotTraining, number_of_updates, optimizer_of
from metarl.training import check_finite, generator

SHAPES = {"omniglot": (1, 28, 28), "mini-imagenet": (3, 84, 84)}
CLASSES, IMAGES = 64, 40
WARM = 5
"""Updates before the first that is timed: the second one is recorded."""
UNTRAINED = "nearest-centroid"
RESULTS = Path(__file__).parent / "results" / "cuda_graphs.json"


class Contender:
    """A training, and what its updates took."""

    def __init__(self, method: str, store: ClassStore, data: str, recorded: bool):
        config = preset(method, data, 5, 1)
        config = replace(config, training=replace(config.training, cuda_graph=recorded))
        torch.manual_seed(0)
        model = build(method, config, store.image, store.num_classes, 5, 1)
        model.module.to(store.device)
        experiment = FewShotExperiment(data=data, way=5, shot=1)
        self.training = FewShotTraining(model, experiment, config.training, store, None)
        updates = number_of_updates(experiment, config.training)
        self.optimizer = optimizer_of(model.module, config.training, updates, model.stages)
        self.device, self.done = store.device, 0

    def update(self) -> tuple[float, float]:
        """Seconds of one update, and its loss."""
        self.done += 1
        batch = self.training.collect(generator(0, self.done, "collect"))
        generator(0, self.done, "learn")
        self._wait()
        start = time.perf_counter()
        metrics = self.optimizer.update(lambda: self.training.loss(batch.data))
        check_finite(self.training.module)
        self._wait()
        return time.perf_counter() - start, metrics["loss"]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def random_store(data: str, device: torch.device) -> ClassStore:
    """Random images of a data set's shape."""
    draw = torch.Generator().manual_seed(0)
    shape = (CLASSES * IMAGES, *SHAPES[data])
    images = torch.randint(256, shape, generator=draw, dtype=torch.uint8).to(device)
    starts = torch.arange(CLASSES + 1) * IMAGES
    return ClassStore(images, starts, [f"class{number:02d}" for number in range(CLASSES)])


def measure(method: str, data: str, args: argparse.Namespace) -> dict[str, Any]:
    """Times of both, within rounds, and how far their first losses differ."""
    store = random_store(data, torch.device(args.device))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        both = {name: Contender(method, store, data, name == "recorded") for name in ("recorded", "anew")}
        losses = {name: [each.update()[1] for _ in range(WARM)] for name, each in both.items()}
    order, rounds = random.Random(0), []
    for _ in range(args.rounds):
        rounds.append({})
        for name in order.sample(sorted(both), 2):
            rounds[-1][name] = sum(both[name].update()[0] for _ in range(args.updates)) / args.updates
    times = {name: spread([each[name] for each in rounds]) for name in both}
    found = {
        "method": method,
        "data": data,
        "rounds": rounds,
        "spread": times,
        "ratio": spread([each["anew"] / each["recorded"] for each in rounds]),
        "losses_differ": max(
            abs(a - b) / max(abs(b), 1e-12) for a, b in zip(*losses.values(), strict=True) if math.isfinite(b)
        ),
        "warnings": [str(each.message) for each in told if "CUDA graph" in str(each.message)],
    }
    print(
        f"{method:22s} {data:14s} recorded {1e3 * times['recorded']['median']:7.1f} ms, anew "
        f"{1e3 * times['anew']['median']:7.1f} ms, x{found['ratio']['median']:.2f}; losses differ by "
        f"{found['losses_differ']:.1e} {'; '.join(found['warnings'])}",
        flush=True,
    )
    return found


def main() -> None:
    """Measure, print, write the JSON."""
    methods = [name for name in METHODS if name != UNTRAINED]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=methods, choices=methods)
    parser.add_argument("--data", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=5, help="of each in a round")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu tries the program out, and records nothing")
    record: dict[str, Any] = {**measurement(), "device": args.device, "results": []}
    for data in args.data:
        for method in args.methods:
            record["results"].append(measure(method, data, args))
            write_json(args.out, record)
    print(f"\n{cuda_graphs([record])}\n\nwritten: {args.out}")


if __name__ == "__main__":
    main()
