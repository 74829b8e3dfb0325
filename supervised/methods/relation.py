"""Relation networks (Sung et al. 2018, "Learning to Compare: Relation Network for Few-Shot Learning").

The comparison itself is learned: a network g looks at the maps of a class, the mean of its support images', beside those
of a query,
    r(q, w) = sigmoid(g([mean_i f(x_i), f(q)])) in (0, 1),
and is to say 1 for the query's class and 0 for the others. The loss is the squared error, averaged over all pairs. g is
two blocks of 3x3 convolution, batch norm, ReLU and 2x2 max-pooling (without padding where maps are large), and two
layers, of 8 units and of 1.

Scores are log r, so that probabilities are relations divided by their sum; with cross-entropy as the loss they are what
the sigmoid would be taken of.

Differences from the paper: a class is the mean, not the sum, of its maps (the same but for a factor, until the number of
shots changes; `pool="sum"` is the paper's); support and query are normalised together in training and by averages in
testing (the paper: each by its own batch, which makes it transductive); turned characters are classes of their own; the
gradient's norm is bounded over both networks at once. With statistics "support" and "one_query" the comparison is
normalised by the relations of the support's own images to the classes.

Legend: W ways (classes), N support images, M queries, C channels, H and W' height and width of the maps.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.nn import BatchNorm, ConvBlock, conv2d, max_pool, normalise
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones import backbone
from metarl.supervised.backbones.residual import start_filters
from metarl.supervised.distances import class_means, members
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.normalisation import QUERIES_AT_ONCE, embed
from metarl.supervised.presets.relation import Config
from metarl.transforms import stateless

WITHOUT_PADDING = 10
"""Side of the smallest maps on which the comparison needs no padding."""
SMALLEST = 4
"""Side of the smallest maps that can be halved twice."""


class Maps(nn.Module):
    """A backbone whose features are its maps.

    Args:
        net: The backbone.
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.backbone = net

    def forward(self, images: Tensor, statistics: BatchStatistics = "batch", support: int = 0) -> Tensor:
        """Images to maps (N, C, H, W')."""
        return self.backbone.maps(images, statistics, support)


class Comparison(nn.Module):
    """Maps of classes and of images to how well they go together.

    Args:
        maps: C, H, W'.
        norm: Of the two blocks: "batch", "layer", "group" or "none".
        filters: Of each block.
        units: Of the layer before the last.

    Raises:
        ValueError: The maps are too small.
    """

    def __init__(self, maps: tuple[int, int, int], norm: str = "batch", filters: int = 64, units: int = 8):
        super().__init__()
        channels, *sides = maps
        if not sides:
            raise ValueError(
                f"a relation network compares maps, but the backbone gives {channels} numbers: take one of convolutions"
            )
        if min(sides) < SMALLEST:
            raise ValueError(
                f"a relation network compares maps of at least {SMALLEST}x{SMALLEST}, but the backbone gives "
                f"{sides[0]}x{sides[1]}: take larger images, or the relation backbone"
            )
        padding = 0 if min(sides) >= WITHOUT_PADDING else 1
        for _ in range(2):
            sides = [(side - 2 + 2 * padding) // 2 for side in sides]
        self.first = ConvBlock(2 * channels, filters, norm, padding=padding)
        self.second = ConvBlock(filters, filters, norm, padding=padding)
        self.hidden = nn.Linear(filters * sides[0] * sides[1], units)
        self.last = nn.Linear(units, 1)

    def forward(
        self, classes: Tensor, images: Tensor, statistics: BatchStatistics = "batch", support: int = 0
    ) -> Tensor:
        """Relations before the sigmoid.

        Args:
            classes: (W, C, H, W').
            images: (N, C, H, W').
            statistics: What batch norm normalises by; its rows are pairs of an image and a class.
            support: How many of the images are the support, for "support"; they come first.

        Returns:
            (N, W).
        """
        conv, half, pairs = self.first.conv, classes.shape[1], support * len(classes)
        # The convolution of two maps side by side is the sum of two convolutions: one for a class, one for an image.
        by_class = conv2d(classes, conv.weight[:, :half], conv.bias, 1, conv.padding[0])
        by_image = conv2d(images, conv.weight[:, half:], None, 1, conv.padding[0])
        x = (by_image.unsqueeze(1) + by_class).flatten(0, 1)
        norm = self.first.norm
        if isinstance(norm, BatchNorm):
            x = norm.then_max_pool(x, statistics, pairs).relu()
        else:
            x = max_pool(normalise(norm, x)).relu()
        x = self.second(x, statistics, pairs).flatten(1)
        return self.last(self.hidden(x).relu()).view(len(images), len(classes))


@torch.no_grad()
def start_layers(net: nn.Module) -> None:
    """Begin as the authors' code does: filters of He et al., weights of layers near 0, and their biases at 1.

    Args:
        net: Holds convolutions and layers; changed in place.
    """
    start_filters(net)
    for each in net.modules():
        if isinstance(each, nn.Conv2d) and each.bias is not None:
            each.bias.zero_()
        if isinstance(each, nn.Linear):
            each.weight.normal_(0, 0.01)
            each.bias.fill_(1)


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Relation networks with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes (not needed).
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    module = nn.Module()
    encoder, norm = backbone(config.backbone, image), config.backbone.norm
    module.net = Maps(encoder)
    module.comparison = Comparison(encoder.map_shape, norm, config.filters, config.units)
    start_layers(module)
    net, compare = stateless(module.net, "net."), stateless(module.comparison, "comparison.")

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        labels, way = episode.support_labels, episode.way
        gathered = class_sums if config.pool == "sum" else class_means
        whole = gathered(support.flatten(1), labels, way).view(way, *support.shape[1:])
        raw = relations(partial(compare, params), whole, support, query, statistics)
        if config.loss == "cross-entropy":
            return F.cross_entropy(raw, episode.query_labels), raw
        wanted = members(episode.query_labels, way).mT
        return (raw.sigmoid() - wanted.to(raw.dtype)).square().mean(), F.logsigmoid(raw)

    return Method(module, task, embeds=True)


def class_sums(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """The sum of each class: features (N, D) and labels (N,) to (W, D)."""
    return members(labels, way).to(features.dtype) @ features


def relations(
    compare: Callable[..., Tensor], classes: Tensor, support: Tensor, query: Tensor, statistics: Statistics
) -> Tensor:
    """Relations of queries to classes before the sigmoid, normalised as the statistics say.

    Args:
        compare: A `Comparison` with its params bound.
        classes: (W, C, H, W').
        support: (N, C, H, W').
        query: (M, C, H, W').
        statistics: As of `embed`.

    Returns:
        (M, W).
    """
    if statistics == "support":
        number = len(support)
        return compare(classes, torch.cat([support, query]), "support", number)[number:]
    if statistics == "one_query":

        def alone(one: Tensor) -> Tensor:
            return compare(classes, torch.cat([support, one.unsqueeze(0)]))[-1]

        return torch.vmap(alone, chunk_size=QUERIES_AT_ONCE)(query)
    return compare(classes, query, "running" if statistics == "running" else "batch")
