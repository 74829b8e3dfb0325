"""Networks that turn images into features, under one interface.

`net(images, statistics="batch", support=0, film=None)` gives features (N, `net.feature_size`), `net.maps(...)` what
they are made of, (N, *`net.map_shape`).
"""

from collections.abc import Callable

from torch import nn

from metarl.names import unknown
from metarl.supervised.backbones.conv4 import Conv4
from metarl.supervised.backbones.identity import Identity
from metarl.supervised.backbones.koch import Koch
from metarl.supervised.backbones.perceptron import Perceptron
from metarl.supervised.backbones.relation import RelationEncoder
from metarl.supervised.backbones.resnet12 import ResNet12
from metarl.supervised.backbones.wide_resnet import WideResNet
from metarl.supervised.methods.config import Backbone

__all__ = [
    "BACKBONES",
    "Conv4",
    "Identity",
    "Koch",
    "Perceptron",
    "RelationEncoder",
    "ResNet12",
    "WideResNet",
    "backbone",
]

Image = tuple[int, ...]

BACKBONES: dict[str, Callable[[Backbone, Image], nn.Module]] = {
    "conv4": lambda b, image: Conv4(image, b.channels, b.halve, b.norm, b.activation),
    "resnet12": lambda b, image: ResNet12(image, b.channels, b.norm, b.activation),
    "wrn-28-10": lambda b, image: WideResNet(image, norm=b.norm, activation=b.activation),
    "koch": lambda b, image: Koch(image, b.norm, b.activation),
    "relation": lambda b, image: RelationEncoder(image, b.channels, b.norm, b.activation),
    "mlp": lambda b, image: Perceptron(image, b.channels, b.activation),
    "identity": lambda b, image: Identity(image),
}
"""Makers of backbones by name; fields of the configuration that a network has no use for are left out."""


OF_NUMBERS = ("mlp", "identity")
"""Those that take numbers, too."""


def backbone(config: Backbone, image: Image) -> nn.Module:
    """The network of a configuration.

    Args:
        config: Architecture.
        image: Channels, height and width of an image; (1,) for numbers.

    Returns:
        A module with `feature_size`, `map_shape` and `film_sizes`.

    Raises:
        ValueError: A name is unknown, or the images are too small.
    """
    if config.name not in BACKBONES:
        raise unknown("backbone", config.name, BACKBONES)
    if len(image) != 3 and config.name not in OF_NUMBERS:
        raise ValueError(
            f"the backbone '{config.name}' is made for images; functions need {' or '.join(OF_NUMBERS)} (--backbone.name)"
        )
    return BACKBONES[config.name](config, image)
