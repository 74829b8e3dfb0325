"""LEO (Rusu et al. 2019, "Meta-Learning with Latent Embedding Optimization").

First a network with a linear head classifies all training classes. Then its features x, of length 1, stay as they are,
and a code z of each class is learned from the support, from which the class's row of a linear classifier w follows. The
inner loop takes steps on z,
    z <- z - a grad_z L_support(w(z)),
decoding anew each time, then on w itself; step sizes are learned, one for each number of z and of w. In training z and w
are drawn from Gaussians, in testing they are their means. The loss is
    L_query + b KL(q(z) | N(0, 1)) + c |stopgrad(z') - z|^2 + penalties on the weights and on the decoder's correlations,
where z' is z after the inner loop. L_support is a sum over the support. See `metarl.supervised.latent_codes`.

Differences from the paper: features are those of this first part, not of a WRN-28-10 trained apart, unless the data are
features already (`metarl.supervised.datasets.features`); the divergence is its exact value, not an estimate from one
draw; an update with numbers that are not finite stops the training.

Legend: T tasks, W ways (classes), S shots, N support images, D features, Z numbers of a code.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.adaptation import inner_steps
from metarl.supervised.backbones import backbone
from metarl.supervised.classification import classification_stage
from metarl.supervised.episode_stage import prepared_stage
from metarl.supervised.episodes import Episode
from metarl.supervised.latent_codes import (
    Codec,
    Noise,
    Spread,
    correlation,
    decoded,
    divergence,
    encoded,
    scores_of,
)
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params, Stage
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.leo import Config
from metarl.supervised.task_kinds import accuracy_of
from metarl.transforms import stateless
from metarl.update_rules import LearnedSGD, register

RULE = LearnedSGD(per="parameter", shared_over_steps=True)
NEEDS_START = (
    "pretraining.share=0 with frozen=True leaves the network as it is drawn, untrained: expected a share of the training "
    "(--pretraining.share 0.5), a run with this backbone (--start-from RUN --start-with backbone), --no-frozen, or data "
    "that are features already (--backbone.name identity)"
)


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """LEO with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes.
        way: Classes of a training episode, unless the settings say otherwise; others will do in testing.
        shot: Support images of each class, likewise.
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    size = module.net.feature_size
    module.codec = Codec(size, config.latent, config.hidden)
    rule = replace(RULE, lr_for={"code": config.latent_lr, "weights": config.finetuning_lr})
    register(module, rule.init({"code": torch.zeros(config.latent), "weights": torch.zeros(size)}, 1))
    first = config.pretraining
    if first.share:
        module.head = nn.Linear(size, classes)
    net = stateless(module.net, "net.")

    def features(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = (
            F.normalize(each, dim=-1) for each in embed(partial(net, params), episode, statistics)
        )
        return (support.detach(), query.detach()) if config.frozen else (support, query)

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = features(params, episode, statistics)
        fast, _ = inner_loop(config, params, support, episode.support_labels, episode.way)
        scores = scores_of(query, fast["weights"])
        return F.cross_entropy(scores, episode.query_labels), scores

    fixed = config.frozen and bool(list(module.net.parameters()))
    stage = _latent_stage(
        config, features, size, way, shot, "running" if fixed else config.training.statistics
    )
    if not first.share:
        return Method(module, task, (stage,), embeds=True, needs_start=NEEDS_START if fixed else "")
    if config.backbone.name == "identity":
        raise ValueError(
            f"a network without parameters cannot be pre-trained; expected pretraining.share=0, got {first.share}"
        )
    classification = classification_stage(net, first.batch, first.augment, first.share, first.as_training())
    return Method(module, task, (classification, stage), embeds=True)


def inner_loop(
    config: Config, params: Params, support: Tensor, labels: Tensor, way: int, noise: Noise | None = None
) -> tuple[dict[str, Tensor], Spread]:
    """A task's classifier.

    Args:
        config: Steps.
        params: With prefixes `codec.` and `rule.`.
        support: Features (N, D).
        labels: (N,).
        way: W.
        noise: Of a training episode; without it everything is its mean.

    Returns:
        The params with `code` (W, S, Z) and `weights` (W, S, D) after the inner loop, and the codes that it began with as
        `start`; and where these came from, (W, Z).
    """
    spread = encoded(params, support, labels, way, None if noise is None else noise.kept)
    copies = max(1, len(labels) // way)
    wide = Spread(*(each.unsqueeze(1).expand(-1, copies, -1) for each in spread))
    start = {**params, "code": wide.at(None if noise is None else noise.code)}

    def loss_of_weights(fast: Params, step: int) -> Tensor:
        seen = support if noise is None else support * noise.support[step]
        return F.cross_entropy(scores_of(seen, fast["weights"]), labels, reduction="sum")

    def loss_of_code(fast: Params, step: int) -> Tensor:
        return loss_of_weights({**fast, "weights": _weights(fast, noise, step)}, step)

    steps = inner_steps(start, loss_of_code, range(config.steps), rule=RULE, adapted=("code",))
    *_, fast = start, *steps
    fast = {**fast, "weights": _weights(fast, noise, config.steps)}
    more = range(config.steps, config.steps + config.finetuning_steps)
    *_, fast = fast, *inner_steps(fast, loss_of_weights, more, rule=RULE, adapted=("weights",))
    return {**fast, "start": start["code"]}, spread


def _weights(params: Params, noise: Noise | None, step: int) -> Tensor:
    return decoded(params, params["code"]).at(None if noise is None else noise.weights[step])


def penalties(config: Config, params: Params, fast: Params, spread: Spread) -> Tensor:
    """What the loss has besides the queries' cross-entropy, a scalar.

    Args:
        config: Factors.
        params: With the prefix `codec.`.
        fast: From `inner_loop`.
        spread: Likewise.
    """
    weights = [each for name, each in params.items() if name.startswith("codec.")]
    length = torch.stack([each.square().sum() for each in weights]).sum()
    return (
        config.kl * divergence(spread)
        + config.encoder_penalty * (fast["code"].detach() - fast["start"]).square().mean()
        + config.l2 * length / 2
        + config.orthogonality * correlation(params["codec.decoder.weight"])
    )


def _latent_stage(
    config: Config,
    features: Callable[..., tuple[Tensor, Tensor]],
    size: int,
    way: int,
    shot: int,
    statistics: Statistics,
) -> Stage:
    """Training on episodes, with noise.

    A network that is frozen gives the same features as in testing: by the averages that hold when this part begins.
    """

    def prepare(episodes: Episode, generator: torch.Generator) -> tuple[Episode, Noise]:
        (tasks, number), way = episodes.support_labels.shape, episodes.way
        queries, steps = episodes.query_labels.shape[1], config.steps + config.finetuning_steps

        def kept(*shape: int) -> Tensor:
            return (torch.rand(tasks, *shape, size, generator=generator) >= config.dropout) / (
                1 - config.dropout
            )

        shape = (tasks, way, number // way)
        noise = Noise(
            kept(number),
            kept(steps, number),
            kept(queries),
            torch.randn(*shape, config.latent, generator=generator),
            torch.randn(tasks, config.steps + 1, *shape[1:], size, generator=generator),
        )
        return episodes, Noise(*(each.to(episodes.support) for each in noise))

    def one(params: Params, prepared: tuple[Episode, Noise]) -> tuple[Tensor, dict[str, Tensor]]:
        episode, noise = prepared
        support, query = features(params, episode, statistics)
        fast, spread = inner_loop(config, params, support, episode.support_labels, episode.way, noise)
        scores = scores_of(query * noise.query, fast["weights"])
        loss = F.cross_entropy(scores, episode.query_labels) + penalties(config, params, fast, spread)
        return loss, {"accuracy": accuracy_of(scores.detach(), episode)}

    stage = prepared_stage(config.training, way, shot, prepare, one, 1 - config.pretraining.share)
    trains = ("codec.*", "rule.*") if config.frozen else ("net.*", "codec.*", "rule.*")
    return replace(stage, trains=trains, optimizer=config.training)
