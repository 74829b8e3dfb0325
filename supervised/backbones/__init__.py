"""Networks that turn images into features."""

from collections.abc import Callable

from torch import nn

from metarl.names import unknown
from metarl.supervised.backbones.conv4 import Conv4
from metarl.supervised.methods.config import Backbone

__all__ = ["BACKBONES", "Conv4", "backbone"]

Image = tuple[int, int, int]


def _conv4(config: Backbone, image: Image) -> nn.Module:
    return Conv4(image, config.channels, config.halve, config.norm, config.activation)


BACKBONES: dict[str, Callable[[Backbone, Image], nn.Module]] = {"conv4": _conv4}
"""Makers of backbones by name."""


def backbone(config: Backbone, image: Image) -> nn.Module:
    """The network of a configuration.

    Args:
        config: Architecture.
        image: Channels, height and width of an image.

    Returns:
        `net(images, statistics="batch", support=0, film=None)` -> features (N, net.feature_size).

    Raises:
        ValueError: A name is unknown, or the images are too small.
    """
    if config.name not in BACKBONES:
        raise unknown("backbone", config.name, BACKBONES)
    return BACKBONES[config.name](config, image)
