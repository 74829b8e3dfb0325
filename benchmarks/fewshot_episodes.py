"""Episodes per second: drawing them, and training Prototypical Networks on them, beside easyfsl and learn2learn.

    python benchmarks/fewshot_episodes.py --learn2learn PATH_OF_A_CHECKOUT_WITH_ITS_EXTENSIONS_BUILT

All draw from the same images in memory (random bytes: 1,200 classes of 20 images of 28x28), one episode at a time. The
peers' samplers run as their documentation shows: easyfsl's TaskSampler under a DataLoader without workers, learn2learn's
Taskset with fused ways and shots. They train Conv4-64 of torch's own layers, metarl trains its own, once more with
convolutions in bfloat16. Each library has a process of its own, and metarl keeps freed memory in its, as `metarl fewshot
train` does. Peers that are not installed are left out. Contenders run interleaved in random order.
"""

import argparse
import importlib
import importlib.util
import os
import random
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from metarl.configs import write_json
from metarl.memory import keep_freed_memory
from metarl.nn import low_precision, stateless
from metarl.provenance import measurement
from metarl.supervised.backbones import Conv4
from metarl.supervised.class_store import ClassStore
from metarl.supervised.distances import class_means, squared_distances
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.normalisation import embed
from metarl.tasks import over_tasks

SHAPES = {"5-way 1-shot": (5, 1, 15), "20-way 5-shot": (20, 5, 15), "60-way 1-shot": (60, 1, 5)}
"""Way, shot, queries of each class."""
CLASSES, IMAGES = 1200, 20
LOW = "metarl bfloat16"
"""The contender whose convolutions multiply in bfloat16."""
Episodes = Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]
"""Support images, their labels, query images, their labels."""


class InMemory(Dataset):
    """The images as the peers want them: one float image and its class at a time."""

    def __init__(self, store: ClassStore):
        self.images = store.images.float() / 255
        self.labels = torch.arange(CLASSES).repeat_interleave(IMAGES).tolist()

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Image i and its class."""
        return self.images[i], self.labels[i]

    def __len__(self) -> int:
        """Images."""
        return len(self.labels)

    def get_labels(self) -> list[int]:
        """The classes of all images."""
        return self.labels


# ------------------------------------------------------------------------------------------------ samplers


def metarl_episodes(store: ClassStore, way: int, shot: int, query: int) -> Episodes:
    """This library's."""
    draws, generator = EpisodeSampler(store, way, shot, query), torch.Generator().manual_seed(0)
    while True:
        episode = draws.draw(1, generator)
        yield tuple(part[0] for part in episode[:4])


def easyfsl_episodes(store: ClassStore, way: int, shot: int, query: int) -> Episodes:
    """sicara/easy-few-shot-learning."""
    data = InMemory(store)
    Sampler.__init__ = lambda self, data_source=None: None  # easyfsl 1.5 hands on what torch no longer takes
    draws = importlib.import_module("easyfsl.samplers.task_sampler").TaskSampler(
        data, way, shot, query, 10**9
    )
    for episode in DataLoader(data, batch_sampler=draws, collate_fn=draws.episodic_collate_fn):
        yield episode[:4]


def learn2learn_episodes(store: ClassStore, way: int, shot: int, query: int) -> Episodes:
    """learnables/learn2learn."""
    names = ("utils", "data", "data.transforms")  # the second asks for the first as an attribute
    _, data, transforms = (importlib.import_module(f"learn2learn.{name}") for name in names)
    images = data.MetaDataset(InMemory(store))
    steps = [
        transforms.FusedNWaysKShots(images, n=way, k=shot + query),
        transforms.LoadData(images),
        transforms.RemapLabels(images),
        transforms.ConsecutiveLabels(images),
    ]
    tasks = data.TaskDataset(images, task_transforms=steps, num_tasks=-1)
    is_support = torch.zeros(way, shot + query, dtype=torch.bool)
    is_support[:, :shot] = True
    is_support = is_support.flatten()
    while True:
        x, y = tasks.sample()
        order = y.argsort(stable=True)
        x, y = x[order], y[order]
        yield x[is_support], y[is_support], x[~is_support], y[~is_support]


SAMPLERS: dict[str, Callable[..., Episodes]] = {
    "metarl": metarl_episodes,
    "easyfsl": easyfsl_episodes,
    "learn2learn": learn2learn_episodes,
}


# ------------------------------------------------------------------------------------------------ training


def usual_conv4() -> nn.Module:
    """Conv4-64 of torch's layers."""
    blocks = [
        nn.Sequential(
            nn.Conv2d(1 if i == 0 else 64, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        for i in range(4)
    ]
    return nn.Sequential(*blocks, nn.Flatten())


def usual_training(episodes: Episodes, way: int) -> Callable[[], None]:
    """Updates as a script with torch's layers makes them."""
    net = usual_conv4()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def update() -> None:
        support, labels, query, query_labels = next(episodes)
        features = net(torch.cat([support, query]))
        centres = torch.stack([features[: len(labels)][labels == c].mean(0) for c in range(way)])
        scores = -torch.cdist(features[len(labels) :], centres).square()
        optimizer.zero_grad()
        F.cross_entropy(scores, query_labels).backward()
        optimizer.step()

    return update


def metarl_training(
    store: ClassStore, way: int, shot: int, query: int, low: bool = False
) -> Callable[[], None]:
    """Updates as this library makes them; `low`: convolutions multiply in bfloat16."""
    net, draws = Conv4(), EpisodeSampler(store, way, shot, query)
    f, params, generator = stateless(net), dict(net.named_parameters()), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def task(params: dict[str, Tensor], episode: Episode) -> Tensor:
        support, query = embed(lambda x, **options: f(params, x, **options), episode, "joint")
        scores = -squared_distances(query, class_means(support, episode.support_labels, way))
        return F.cross_entropy(scores, episode.query_labels)

    def update() -> None:
        optimizer.zero_grad()
        with low_precision(low):
            loss = over_tasks(task)(params, draws.draw(1, generator)).mean()
        loss.backward()
        optimizer.step()

    return update


# --------------------------------------------------------------------------------------------- measurement


def make_importable(learn2learn: Path | None) -> None:
    """Let the samplers of peers be imported without those of their parts that need packages not used here."""
    if learn2learn:
        package = types.ModuleType("learn2learn")
        package.__path__ = [str(learn2learn / "learn2learn")]
        sys.modules["learn2learn"] = package
    if importlib.util.find_spec("torchvision") is None:
        sys.modules["easyfsl.datasets"] = types.ModuleType("easyfsl.datasets")
        sys.modules["easyfsl.datasets"].FewShotDataset = Dataset


def libraries(learn2learn: Path | None) -> list[str]:
    """This one, and the peers that can be imported."""
    make_importable(learn2learn)
    found = ["metarl"]
    for name, modules in (
        ("easyfsl", ("easyfsl.samplers.task_sampler",)),
        ("learn2learn", ("learn2learn.utils", "learn2learn.data")),
    ):
        try:
            for module in modules:
                importlib.import_module(module)
            found.append(name)
        except ImportError as error:
            print(f"without {name}: {error}")
    return found


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls per second over about so many seconds."""
    calls, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds or calls < 3:
        call()
        calls += 1
    return calls / (time.perf_counter() - began)


def contender(what: str, name: str, shape: tuple[int, int, int], store: ClassStore) -> Callable[[], object]:
    """What is called over and over: one episode drawn, or drawn and trained on."""
    if what == "training" and name.startswith("metarl"):
        return metarl_training(store, *shape, low=name == LOW)
    episodes = SAMPLERS[name](store, *shape)
    return partial(next, episodes) if what == "drawing" else usual_training(episodes, shape[0])


def serve(requests: Connection, library: str, learn2learn: Path | None, threads: int | None) -> None:
    """A process in which one library is measured, set up as its own programs set theirs up.

    Takes (shape, what, name, seconds), answers with calls per second; None ends it.
    """
    if threads:
        torch.set_num_threads(threads)
    if library == "metarl":
        keep_freed_memory()  # as `metarl fewshot train` does
    else:
        make_importable(learn2learn)
    torch.manual_seed(0)
    store, calls = random_store(), {}
    while (request := requests.recv()) is not None:
        shape, what, name, seconds = request
        if (shape, what, name) not in calls:
            calls[shape, what, name] = contender(what, name, SHAPES[shape], store)
            calls[shape, what, name]()
        requests.send(rate(calls[shape, what, name], seconds))


def random_store() -> ClassStore:
    """Images of random bytes."""
    images = torch.randint(0, 256, (CLASSES * IMAGES, 1, 28, 28), dtype=torch.uint8)
    starts = torch.arange(0, CLASSES * IMAGES + 1, IMAGES)
    return ClassStore(images, starts, [str(c) for c in range(CLASSES)])


def measure(servers: dict[str, Connection], shape: str, args: argparse.Namespace) -> dict[str, dict]:
    """Calls per second in every round, by what is measured and contender."""
    contenders = [(what, name) for what in ("drawing", "training") for name in servers]
    contenders.append(("training", LOW))
    rates: dict[str, dict[str, list[float]]] = {"drawing": {}, "training": {}}
    for _ in range(args.rounds):
        for what, name in random.sample(contenders, len(contenders)):
            server = servers[name.partition(" ")[0]]
            server.send((shape, what, name, args.seconds))
            rates[what].setdefault(name, []).append(server.recv())
    return rates


def main() -> None:
    """Measure all shapes and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--learn2learn", type=Path, help="a checkout or unpacked release, its extensions built"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each contender in each round")
    parser.add_argument("--threads", type=int, help="torch's intra-op threads; default: torch's own")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "episodes.json")
    args = parser.parse_args()
    context, servers, load, results = get_context("spawn"), {}, os.getloadavg(), {}
    for name in libraries(args.learn2learn):
        servers[name], requests = context.Pipe()
        context.Process(
            target=serve, args=(requests, name, args.learn2learn, args.threads), daemon=True
        ).start()
    for shape in SHAPES:
        results[shape] = measure(servers, shape, args)
        for what, rates in results[shape].items():
            shown = ", ".join(f"{each} {statistics.median(found):.1f}" for each, found in rates.items())
            print(f"{shape:14s} {what:9s} episodes/s: {shown}", flush=True)
    for server in servers.values():
        server.send(None)
    record = {
        **measurement("easyfsl", "learn2learn"),
        "load_average": {"before": load, "after": os.getloadavg()},
    }
    if args.learn2learn:  # the reader's path will be another
        record["command"] = record["command"].replace(str(args.learn2learn), args.learn2learn.name)
    write_json(args.out, {**record, "episodes_per_second": results})
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
