"""MLAP (Amit and Meir 2018, "Meta-Learning by Adjusting Priors Based on Extended PAC-Bayes Theory").

The weights of a network with a linear head are independent normal variables. From some tasks, always the same, a prior P
is learned together with a posterior Q_i for each, by minimising a bound of the loss on tasks to come,
    mean_i (L_i(Q_i) + term(KL(Q_i | P), m_i)) + term(n),
with L_i on weights drawn from Q_i. For a new task the posterior starts as the prior, and is fitted to the support by the
bound of one task, with the prior fixed. The answer is that of the posterior's mean. See `metarl.supervised.pac_bayes` and
`metarl.supervised.gaussian_weights`; the bound itself is computed by `benchmarks/mlap.py`.

Differences from the paper: few-shot tasks, where it has ten classes of digits with thousands of images, under permuted
labels or shuffled pixels (`benchmarks/mlap.py` has such tasks); all images of a task make one batch; a posterior for a
new task is found by few steps, of Adam without momentum, in units of the prior's deviations, with noise that is the same
for all tasks; the head of other ways than in training takes its rows round and round.

Legend: n tasks to learn from, T of them in an update, m images of a task, P numbers of all weights.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl import distributed
from metarl.adaptation import inner_steps
from metarl.supervised.class_store import ClassStore
from metarl.supervised.episodes import Episode, EpisodeSampler
from metarl.supervised.evaluation import seeded
from metarl.supervised.gaussian_weights import Gaussians, posterior_objective, prior_objective, starting
from metarl.supervised.inner_loop import Learner, learner, with_ways
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.presets.mlap import Config
from metarl.supervised.task_kinds import query_loss
from metarl.update_rules import AdamWithoutMomentum, register

TASK_SEED = 3
"""Of the tasks that are the same in every training."""
HYPER_SPREAD = 1e-3
"""Deviation of the hyper-posterior, by which the prior's means are moved in the bound."""


class Batch(NamedTuple):
    """What an update looks at."""

    chosen: Tensor
    """Numbers of the tasks, (T,)."""
    tasks: Episode
    """Their images, as support, with a leading axis T."""
    noise: Tensor
    """Standard normal, one draw of all weights for each task, (T, P)."""
    shift: Tensor
    """Standard normal, for the prior's means, (P,)."""


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """MLAP with fresh parameters.

    The prior's means are the network's own parameters; `log_var.*` and `posterior.*` come beside them.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes.
        way: Classes of a task, unless the settings say otherwise; others will do in testing.
        shot: Support images of each class in testing (not needed).
    """
    way = min(classes, config.training.way or way)
    network = learner(config.backbone, image, way)
    weights = dict(network.module.named_parameters())
    prior = starting(weights, log_variance=config.log_variance)
    register(network.module, {f"log_var.{name}": each for name, each in prior.log_var.items()})
    posteriors = [
        starting(weights, log_variance=config.log_variance).named("posterior.") for _ in range(config.tasks)
    ]
    register(
        network.module, {name: torch.stack([each[name] for each in posteriors]) for name in posteriors[0]}
    )
    size = sum(each.numel() for each in weights.values())
    noise = torch.randn(config.test_steps, size, generator=torch.Generator().manual_seed(0))
    network.module.register_buffer("noise", noise, persistent=False)
    task = partial(fitted_task, network, config, tuple(weights))
    stage = _stage(network, config, tuple(weights), way)

    @torch.no_grad()
    def started() -> None:
        """Posteriors begin around the prior."""
        for name, each in network.module.net.named_parameters():
            network.module.get_parameter(f"posterior.mean.net.{name}").copy_(
                each.expand(config.tasks, *each.shape)
            )

    return Method(network.module, task, (stage,), started=started)


def prior_of(params: Params, names: tuple[str, ...]) -> Gaussians:
    """The prior among a method's params."""
    return Gaussians(
        {name: params[name] for name in names}, {name: params[f"log_var.{name}"] for name in names}
    )


def fitted_task(
    network: Learner,
    config: Config,
    names: tuple[str, ...],
    params: Params,
    episode: Episode,
    statistics: Statistics,
) -> tuple[Tensor, Tensor]:
    """Fit a posterior to the support, and answer by its mean.

    Args:
        network: Network and head.
        config: Settings.
        names: Of the weights.
        params: All parameters of the method.
        episode: One task.
        statistics: Normalisation mode.
    """
    whole = prior_of(params, names)
    prior = Gaussians(with_ways(whole.mean, episode), with_ways(whole.log_var, episode))

    def loss(fast: Params, row: Tensor) -> Tensor:
        posterior = prior.moved(Gaussians.under("", fast))
        noise = with_ways(_split(row, whole.mean), episode)
        value = network.support_loss(posterior.draw(noise), episode, statistics)
        bound = posterior_objective(
            config.bound, value, posterior, prior, len(episode.support), delta=config.delta
        )
        return bound.to(value.dtype)

    rule, rows = AdamWithoutMomentum(config.test_lr), network.module.noise.unbind(0)
    start = Gaussians(*({name: torch.zeros_like(each) for name, each in part.items()} for part in prior))
    *_, fast = start.named(""), *inner_steps(start.named(""), loss, rows, rule=rule, first_order=True)
    scores = network.query_scores(prior.moved(Gaussians.under("", fast)).mean, episode, statistics)
    return query_loss(scores, episode), scores


def _split(row: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Numbers of all weights (P,) as tensors of their shapes."""
    parts = row.split([each.numel() for each in like.values()])
    return {name: part.view_as(each) for (name, each), part in zip(like.items(), parts, strict=True)}


def _stage(network: Learner, config: Config, names: tuple[str, ...], way: int) -> Stage:
    """The whole training: prior and posteriors, by the bound.

    Args:
        network: Network and head.
        config: Settings.
        names: Of the weights.
        way: Classes of a task.
    """
    size = network.module.noise.shape[1]

    def draw(store: ClassStore, generator: torch.Generator, progress: float) -> Batch:
        sampler = EpisodeSampler(store, way, min(config.samples, int(store.sizes.min())), 0)
        number = min(config.tasks, config.training.tasks)
        mine = distributed.share(number)
        chosen = torch.randperm(config.tasks, generator=generator)[:number][mine.start : mine.stop]
        drawn = [sampler.draw(1, seeded(TASK_SEED, each)) for each in chosen.tolist()]
        tasks = Episode(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
        noise, shift = (torch.randn(n, size, generator=generator) for n in (number, 1))
        noise, shift = (each.to(tasks.support) for each in (distributed.part(noise), shift[0]))
        return Batch(chosen.to(noise.device), tasks, noise, shift)

    def loss(params: Params, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        prior, losses, posteriors = prior_of(params, names), [], []
        whole = Gaussians.under("posterior.", params)
        chosen = Gaussians(*({name: each[batch.chosen] for name, each in part.items()} for part in whole))
        for place in range(len(batch.chosen)):
            task: Any = Episode(*(each[place] for each in batch.tasks))
            posterior = Gaussians(*({name: each[place] for name, each in part.items()} for part in chosen))
            weights = posterior.draw(_split(batch.noise[place], prior.mean))
            losses.append(network.support_loss(weights, task, config.training.statistics))
            posteriors.append(posterior)
        value = prior_objective(
            config.bound,
            losses,
            posteriors,
            prior,
            batch.tasks.support.shape[1],
            config.tasks,
            delta=config.delta,
            shift=_split(HYPER_SPREAD * batch.shift, prior.mean),
        )
        return value.to(losses[0].dtype), {"support_loss": torch.stack(losses).detach().mean()}

    return Stage(draw, loss)
