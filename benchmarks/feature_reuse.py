"""What an inner loop changes in a network that MAML trained: its features, or its head alone.

    python benchmarks/feature_reuse.py RUN [RUN ...] [--episodes 400] [--shots 1 5]

Raghu et al. (2020, section 3): a run's accuracy on test episodes if the first blocks of its network do not adapt (with
all of them frozen the head adapts alone), and without a head, by cosines of unadapted features (NIL); and how alike a
layer's outputs for the queries are before and after adaptation, by linear CKA (Kornblith et al. 2019, eq. 4), 1 for equal
ones up to rotation and scale. A row for the same data, method, ways and shots is replaced.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fewshot_accuracy import trainings
from fewshot_tables import feature_reuse
from torch import Tensor
from torch.func import functional_call
from torch.utils import _pytree as pytree

from metarl.adaptation import adapt
from metarl.configs import read_json, write_json
from metarl.provenance import measurement
from metarl.supervised.evaluation import Protocol, judge, seeded
from metarl.supervised.fewshot_run import FewShotRun
from metarl.supervised.inner_loop import Learner, head, in_testing, sgd
from metarl.supervised.methods.anil import headless
from metarl.supervised.methods.method import Method, Params, Task
from metarl.supervised.runs import open_run
from metarl.supervised.task_kinds import query_loss, sampler_of
from metarl.transforms import stateless

RESULTS = Path(__file__).parent / "results" / "feature_reuse.json"
BLOCKS = 4
"""Of a Conv4."""
ALIKE = 50
"""Episodes whose layers are compared."""


class Trained:
    """A run of MAML, and its inner loop with any blocks frozen."""

    def __init__(self, run: FewShotRun):
        if run.name not in ("maml", "fomaml") or run.config.backbone.name != "conv4":
            raise ValueError(f"{run.path} is a run of '{run.name}', expected MAML or FOMAML with a conv4")
        self.run, (self.method, self.state) = run, run.method(torch.device("cpu"))
        module = self.method.module
        self.learner = Learner(module, stateless(module.net, "net."), run.config.zero_head)
        self.inner, self.mode = in_testing(run.config.inner), run.config.training.test_statistics

    def adapted(self, params: Params, episode: Any, frozen: int) -> Params:
        """The params after the inner loop, which leaves the first blocks alone."""
        blocks = (f"net.blocks.{number}.*" for number in range(frozen, BLOCKS))
        return adapt(
            self.learner.start(params, episode),
            lambda fast, _: self.learner.support_loss(fast, episode, self.mode),
            None,
            rule=sgd(self.inner, self.run.config.head_lr),
            steps=self.inner.steps,
            adapted=(*blocks, "head.*"),
            first_order=True,
        )

    def task(self, frozen: int) -> Task:
        """Classifying the queries after that."""

        def task(params: Params, episode: Any, statistics: Any) -> tuple[Tensor, Tensor]:
            scores = self.learner.query_scores(self.adapted(params, episode, frozen), episode, statistics)
            return query_loss(scores, episode), scores

        return task

    def layers(self, params: Params, images: Tensor) -> list[Tensor]:
        """What each block makes of the images, by their own moments, and the scores: (N, ...) flat."""
        found, net = [], self.method.module.net
        for number, block in enumerate(net.blocks):
            own = f"net.blocks.{number}."
            mine = {name.removeprefix(own): each for name, each in params.items() if name.startswith(own)}
            images = functional_call(block, mine, (images,))
            found.append(images.flatten(1))
        features = images.mean((2, 3)) if net.spatial_mean else images.flatten(1)
        return [*found, head(params, features)]


def alike(x: Tensor, y: Tensor) -> float:
    """Linear CKA of two representations (N, D) and (N, E) of the same images."""
    first, second = (each - each.mean(0) for each in (x, y))
    gram, other = first @ first.T, second @ second.T
    return float((gram * other).sum() / (gram.norm() * other.norm()))


def judged(trained: Trained, shot: int, episodes: int) -> dict[str, Any]:
    """Accuracies by what is frozen, and likeness of the layers, at so many shots."""
    way = trained.run.experiment.way
    store, protocol = trained.run.load("test", torch.device("cpu")), Protocol(way, shot, 15, episodes, 0)

    def accuracies(task: Task) -> list[float]:
        method = Method(trained.method.module, task, test=task)
        (found,) = judge(method, store, protocol, [trained.mode]).values()
        return found.accuracies.round(4).tolist()

    frozen = [accuracies(trained.task(blocks)) for blocks in range(BLOCKS + 1)]
    layers: list[list[float]] = []
    params = {name: each.detach() for name, each in trained.method.module.named_parameters()}
    sampler = sampler_of(store, way, shot, protocol.query)
    for number in range(ALIKE):
        episode = pytree.tree_map(lambda each: each[0], sampler.draw(1, seeded(protocol.seed, number)))
        before = trained.layers(trained.learner.start(params, episode), episode.query)
        after = trained.layers(trained.adapted(params, episode, 0), episode.query)
        layers.append([round(alike(a, b), 5) for a, b in zip(before, after, strict=True)])
    return {
        "data": trained.run.experiment.data,
        "kind": f"{way}w{shot}s",
        "method": trained.run.name,
        "trainings": trainings(trained.run),
        "steps": trained.inner.steps,
        "state": trained.state,
        "frozen": frozen,
        "nil": accuracies(headless(trained.learner)),
        "alike": np.mean(layers, 0).round(4).tolist(),
    }


def main() -> None:
    """Judge, print, and put each run's rows in the place of its older ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--shots", type=int, nargs="+", help="unset, those that the run was trained for")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = {}
    if args.out.is_file():
        rows = {(row["data"], row["method"], row["kind"]): row for row in read_json(args.out)["rows"]}
    try:
        runs = [Trained(open_run(path)) for path in args.runs]
    except ValueError as error:
        parser.error(str(error))
    for trained in runs:
        for shot in args.shots or [trained.run.experiment.shot]:
            row = judged(trained, shot, args.episodes)
            rows[(row["data"], row["method"], row["kind"])] = row
            write_json(args.out, {**measurement(), "rows": list(rows.values())})
            print(f"{feature_reuse([{**measurement(), 'rows': [row]}])}\n", flush=True)


if __name__ == "__main__":
    main()
