"""By which images batch norm normalises: one place for all methods.

Legend: W ways (classes), S shots, Q queries of each class, N images.
"""

from collections.abc import Callable, Iterable
from typing import Any, get_args

import torch
from torch import Tensor, nn

from metarl.names import unknown
from metarl.nn import recorded_moments
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics

QUERIES_AT_ONCE = 25
"""How many queries "one_query" takes side by side, each with a support of its own: a bound on memory."""


def embed(
    net: Callable[..., Tensor], episode: Episode, statistics: Statistics, **options: Any
) -> tuple[Tensor, Tensor]:
    """Features of support and query images.

    Args:
        net: `net(images, statistics=.., support=.., **options)` -> features (N, ...): a backbone with its params bound.
        episode: One task.
        statistics: "joint": both in one batch. "transductive": each in a batch of its own. "support": in one batch,
            normalised by the support's moments. "running": by stored averages. "one_query": the support by itself, and
            every query in a batch with the support and no other query (slow; for evaluation).
        **options: Handed on.

    Returns:
        (W S, ...) and (W Q, ...).

    Raises:
        ValueError: The statistics are unknown.
    """
    support, query = episode.support, episode.query
    number = support.shape[0]
    if statistics == "transductive":
        return net(support, statistics="batch", **options), net(query, statistics="batch", **options)
    if statistics == "one_query":

        def alone(image: Tensor) -> Tensor:
            return net(torch.cat([support, image.unsqueeze(0)]), statistics="batch", **options)[-1]

        queries = torch.vmap(alone, chunk_size=QUERIES_AT_ONCE, randomness="different")(query)
        return net(support, statistics="batch", **options), queries
    ways = {"joint": {"statistics": "batch"}, "running": {"statistics": "running"}}
    ways["support"] = {"statistics": "support", "support": number}
    if statistics not in ways:
        raise unknown("statistics", statistics, get_args(Statistics))
    features = net(torch.cat([support, query]), **ways[statistics], **options)
    return features[:number], features[number:]


def embed_query(net: Callable[..., Tensor], episode: Any, statistics: Statistics) -> Tensor:
    """Features of the query alone, (W Q, ...), as `embed` has them; the support is left out where it does not matter.

    Args:
        net: As for `embed`.
        episode: One task: an `Episode`, or anything else with `support` and `query`.
        statistics: As for `embed`.
    """
    if statistics in ("transductive", "running"):
        return net(episode.query, statistics="batch" if statistics == "transductive" else "running")
    return embed(net, episode, statistics)[1]


def embed_support(net: Callable[..., Tensor], episode: Any, statistics: Statistics) -> Tensor:
    """Features of the support (W S, ...) before any query is known: by its own moments, or by stored averages."""
    return net(episode.support, statistics="running" if statistics == "running" else "batch")


@torch.no_grad()
def estimate_running(module: nn.Module, forward: Callable[[Any], Any], batches: Iterable[Any]) -> None:
    """Set the running averages of all batch norms in a module to the means of their moments over batches.

    Args:
        module: Its norms are changed.
        forward: Called with each batch under "batch" statistics, e.g. a method's task with "joint".
        batches: Training data.
    """
    with recorded_moments(module):
        for batch in batches:
            forward(batch)
