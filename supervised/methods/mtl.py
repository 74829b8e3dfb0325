"""MTL (Sun, Liu, Chua and Schiele 2019, "Meta-Transfer Learning for Few-Shot Learning").

1. A network with a linear head classifies all training classes. Head and classification then are over.
2. Its weights are frozen. On episodes learn, by the outer gradient, a factor for every kernel of every convolution and an
   addend for every shift, W' = W s and b' = b + t (equations 4 and 5, from s = 1 and t = 0), and the start of a head for
   the episode's classes, which alone adapts in the inner loop.

Hard tasks (section 4.3) are our own scheme, since the paper's was never published in full: of every training task the
class with the lowest accuracy on the queries joins a pool of the last `pool` such classes, and an update is, with
probability `hard`, on tasks whose classes are drawn from the pool, filled up from all others where it has too few.

Differences from the paper: convolutions before batch norm have no bias here, the shift is added to that of the norm;
s = 1 + u / 10 and t = v / 10, with u and v learned by Adam, which makes their step size a tenth of the head's as in the
paper; those of `classifier_baseline` in part 1. The network of part 2 normalises by the batch at hand, in testing too
(theirs by averages; `--training.test-statistics running`), which makes it transductive.

Legend: T tasks, W ways (classes), S shots, Q queries of each class.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from metarl import distributed
from metarl.names import matching
from metarl.supervised.classification import Labelled, classification_loss, draw_batch
from metarl.supervised.distances import class_means
from metarl.supervised.episode_stage import episode_stage
from metarl.supervised.episodes import Episode
from metarl.supervised.inner_loop import adapted, in_testing, learner, sgd, with_ways
from metarl.supervised.methods.config import InnerLoop, Statistics
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.presets.mtl import Config
from metarl.supervised.task_kinds import accuracy_of, query_loss
from metarl.tasks import over_tasks
from metarl.update_rules import register

SLOWER = 0.1
"""Step size of factors and addends as a part of the head's."""
LEARNED = ("shifts.*", "factors.*", "head.*")
"""What part 2 trains."""


class HardClasses(nn.Module):
    """The classes that were classified worst in the latest tasks.

    Args:
        size: How many are kept.
    """

    pool: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("pool", torch.full((size,), -1))

    def add(self, classes: Tensor) -> None:
        """Add the newest (of this rank's tasks; all ranks' are added), and forget as many of the oldest."""
        number, ranks = len(classes), distributed.world_size()
        everyone = classes.new_zeros(ranks, number)
        everyone[distributed.rank()] = classes
        newest = distributed.sum_(everyone).flatten()[-len(self.pool) :]
        self.pool.copy_(torch.cat([self.pool[len(newest) :], newest]))

    def known(self) -> Tensor:
        """Their numbers, each once, on the CPU."""
        pool = self.pool.cpu()
        return pool[pool >= 0].unique()


NEEDS_START = (
    "pretraining.share=0 leaves the kernels as they are drawn, untrained, as part 2 trains none: expected a share of the "
    "training (--pretraining.share 0.5), or a run with this backbone (--start-from RUN --start-with backbone)"
)


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """MTL with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes.
        way: Classes of an episode in testing; others will do (see `metarl.supervised.inner_loop.with_ways`).
        shot: Support images of each class in testing.
    """
    network = learner(config.backbone, image, min(classes, config.training.way or way))
    module = network.module
    if config.pretraining.share:
        module.classifier = nn.Linear(module.net.feature_size, classes)
    learned = scale_and_shift(module.net)
    if not any(name.startswith("factors.") for name in learned):
        raise ValueError(
            f"MTL learns a factor for every kernel, but the backbone '{config.backbone.name}' has no convolutions: take "
            "another backbone, or another method"
        )
    register(module, learned)
    module.hard = HardClasses(config.pool)

    def task(
        params: Params, episode: Episode, statistics: Statistics, inner: InnerLoop = config.inner
    ) -> tuple[Tensor, Tensor]:
        start = with_ways(transferred(params), episode)
        fast = adapted(network, start, episode, statistics, sgd(inner), inner)
        scores = network.query_scores(fast, episode, statistics)
        return query_loss(scores, episode), scores

    test = partial(task, inner=in_testing(config.inner))
    second = _on_episodes(config, task, module.hard, way, shot)
    if not config.pretraining.share:
        return Method(module, task, (second,), test, needs_start=NEEDS_START, backbone=transferred)
    return Method(module, task, (_pretraining(config, network.features), second), test, backbone=transferred)


def scale_and_shift(net: nn.Module) -> dict[str, Tensor]:
    """What is learned of a frozen network, at zero: `factors.*` for kernels, `shifts.*` for shifts."""
    found = {}
    for name, value in net.named_parameters():
        if value.dim() == 4:
            found[f"factors.{name}"] = value.new_zeros(*value.shape[:2], 1, 1)
        elif name.endswith("bias"):
            found[f"shifts.{name}"] = torch.zeros_like(value)
    return found


def transferred(params: Params) -> dict[str, Tensor]:
    """The params with the network's weights frozen, scaled and shifted."""
    found = dict(params)
    for name, value in params.items():
        if not name.startswith("net."):
            continue
        found[name] = value.detach()
        key = name.removeprefix("net.")
        if f"factors.{key}" in params:
            found[name] = found[name] * (1 + SLOWER * params[f"factors.{key}"])
        elif f"shifts.{key}" in params:
            found[name] = found[name] + SLOWER * params[f"shifts.{key}"]
    return found


def hardest(scores: Tensor, episode: Episode) -> Tensor:
    """The class with the lowest accuracy on the queries, as a number of the store; of equal ones, the least likely."""
    labels = episode.query_labels
    right = (scores.argmax(-1) == labels).to(scores.dtype)
    sure = scores.softmax(-1).gather(1, labels.unsqueeze(1)).squeeze(1)
    each = class_means((right + 1e-3 * sure).unsqueeze(1), labels, episode.way).squeeze(1)
    return episode.classes.gather(0, each.argmin().unsqueeze(0)).squeeze(0)


def _pretraining(config: Config, net: Callable[..., Tensor]) -> Stage:
    """Part 1."""
    own = config.pretraining

    def loss(params: Params, batch: Labelled) -> tuple[Tensor, dict[str, Tensor]]:
        as_head = {f"head.{key}": params[f"classifier.{key}"] for key in ("weight", "bias")}
        return classification_loss(net, {**params, **as_head}, batch)

    return Stage(
        partial(draw_batch, batch=own.batch, augment=own.augment),
        loss,
        own.share,
        own.as_training(),
        ("net.*", "classifier.*"),
    )


def _on_episodes(config: Config, task: Callable, hard: HardClasses, way: int, shot: int) -> Stage:
    """Part 2."""
    training = config.training

    def one(params: Params, episode: Episode) -> tuple[Tensor, Any]:
        loss, scores = task(params, episode, training.statistics)
        scores = scores.detach()
        return loss, {"accuracy": accuracy_of(scores, episode), "hardest": hardest(scores, episode)}

    def loss(params: Params, episodes: Episode, now: None) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = set(matching(params, LEARNED, "trained pattern"))
        learned = {name: each if name in chosen else each.detach() for name, each in params.items()}
        losses, found = over_tasks(one)(learned, episodes)
        hard.add(found["hardest"])
        return losses.mean(), {"accuracy": found["accuracy"].mean()}

    def preferred(generator: torch.Generator) -> Tensor | None:
        chosen = float(torch.rand((), generator=generator)) < config.hard
        return hard.known() if chosen else None

    return episode_stage(
        training,
        way,
        shot,
        loss,
        1 - config.pretraining.share,
        preferred=preferred,
        optimizer=training,
        trains=LEARNED,
    )
