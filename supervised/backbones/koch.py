"""The twin of the Siamese network for one-shot recognition (Koch, Zemel and Salakhutdinov 2015).

Convolutions of 64 10x10, 128 7x7, 128 4x4 and 256 4x4 filters without padding; 2x2 max-pooling after the first
three; then 4096 sigmoid units.

Legend: N images, C channels, H and W height and width, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl.nn import Film, conv2d, max_pool, modulate, nonlinearity, norm_layer, normalise
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films

FILTERS = ((64, 10), (128, 7), (128, 4), (256, 4))
"""Number and side of the filters of each convolution."""
SMALLEST = 65
"""Side of the smallest image that leaves a pixel after the last convolution."""


class Koch(nn.Module):
    """Images to features in (0, 1).

    Args:
        image: Channels, height and width of an image: (1, 105, 105) in the paper.
        norm: Of every convolution: "none" in the paper, "batch", "layer" or "group".
        activation: Name of the convolutions' nonlinearity.
        units: D, sigmoid units of the last layer.

    Attributes:
        feature_size: D.
        map_shape: (C, H, W) of the last convolution's output.
        film_sizes: Channels at every place where FiLM may enter, one per convolution.

    Raises:
        ValueError: A name is unknown, or the image is too small.
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 105, 105),
        norm: str = "none",
        activation: str = "relu",
        units: int = 4096,
    ):
        super().__init__()
        if min(image[1:]) < SMALLEST:
            raise ValueError(
                f"the koch network needs images of at least {SMALLEST}x{SMALLEST} (its paper has 105x105), got "
                f"{image[1]}x{image[2]}: set the image size to 105, or take the conv4 backbone"
            )
        inputs = (image[0], *(number for number, _ in FILTERS))
        bias = norm != "batch"
        self.convs = nn.ModuleList(
            nn.Conv2d(n, number, side, bias=bias) for n, (number, side) in zip(inputs, FILTERS, strict=False)
        )
        self.norms = nn.ModuleList(norm_layer(norm, number) for number, _ in FILTERS)
        self.act = nonlinearity(activation)
        self.film_sizes = tuple(number for number, _ in FILTERS)
        self.map_shape = (FILTERS[-1][0], *(_side_of_maps(side) for side in image[1:]))
        self.units = nn.Linear(self.map_shape[0] * self.map_shape[1] * self.map_shape[2], units)
        self.feature_size = units
        _start(self)

    def maps(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to the last convolution's output (N, *map_shape); see `forward`."""
        x = images
        places = zip(self.convs, self.norms, films(film, self.film_sizes), strict=True)
        for i, (conv, norm, each) in enumerate(places):
            x = normalise(norm, conv2d(x, conv.weight, conv.bias), statistics, support)
            x = self.act(modulate(x, each))
            x = max_pool(x) if i < 3 else x
        return x

    def forward(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to features (N, D); arguments as of `Conv4.forward`."""
        return torch.sigmoid(self.units(self.maps(images, statistics, support, film).flatten(1)))


def _side_of_maps(side: int) -> int:
    for _, filter_side in FILTERS[:3]:
        side = (side - filter_side + 1) // 2
    return side - FILTERS[3][1] + 1


@torch.no_grad()
def _start(net: Koch) -> None:
    """The paper's start: weights N(0, 0.01), of the last layer N(0, 0.2); biases N(0.5, 0.01)."""
    for layer in (*net.convs, net.units):
        layer.weight.normal_(0, 0.2 if layer is net.units else 0.01)
        if layer.bias is not None:
            layer.bias.normal_(0.5, 0.01)
