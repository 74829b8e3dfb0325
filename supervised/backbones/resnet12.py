"""ResNet-12 of few-shot papers (Oreshkin et al. 2018, Lee et al. 2019, Chen et al. 2021).

Four residual blocks of three 3x3 convolutions, each halving the image; then the spatial mean.

Legend: N images, C channels, H and W height and width, D features.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from metarl.nn import Film, conv2d, max_pool, modulate, norm_layer, normalise
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films
from metarl.supervised.backbones.residual import SLOPE, residual_activation, start_filters

WIDTHS = {64: (64, 128, 256, 512), 80: (64, 160, 320, 640)}
"""Filters of the four blocks, by what `Backbone.channels` says."""


class ResidualBlock(nn.Module):
    """Three convolutions with norms, added to a 1x1 shortcut with a norm; then nonlinearity and pooling.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        norm: "batch", "layer", "group" or "none".
        activation: "relu", "leaky_relu" (slope 0.1) or "silu".
    """

    def __init__(self, inputs: int, outputs: int, norm: str, activation: str):
        super().__init__()
        bias = norm == "none"
        sizes = (inputs, outputs, outputs)
        self.convs = nn.ModuleList(nn.Conv2d(n, outputs, 3, padding=1, bias=bias) for n in sizes)
        self.norms = nn.ModuleList(norm_layer(norm, outputs) for _ in sizes)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=bias)
        self.shortcut_norm = norm_layer(norm, outputs)
        self.act = residual_activation(activation)

    def forward(
        self, x: Tensor, statistics: BatchStatistics, support: int, film: Sequence[Film | None]
    ) -> Tensor:
        """Shape (N, inputs, H, W) to (N, outputs, H // 2, W // 2); `film` has one entry per convolution."""
        shortcut = conv2d(x, self.shortcut.weight, self.shortcut.bias)
        shortcut = normalise(self.shortcut_norm, shortcut, statistics, support)
        for i, (conv, norm, each) in enumerate(zip(self.convs, self.norms, film, strict=True)):
            x = conv2d(x, conv.weight, conv.bias, padding=1)
            x = modulate(normalise(norm, x, statistics, support), each)
            x = self.act(x) if i < 2 else x
        return max_pool(self.act(x + shortcut))


class ResNet12(nn.Module):
    """Images to features.

    Args:
        image: Channels, height and width of an image, at least 16x16.
        channels: 64 for blocks of 64, 128, 256 and 512 filters, 80 for 64, 160, 320 and 640.
        norm: "batch", "layer", "group" or "none".
        activation: "relu", "leaky_relu" (slope 0.1) or "silu".

    Attributes:
        feature_size: D, the filters of the last block.
        map_shape: (C, H, W) of the last block's output.
        film_sizes: Channels at every place where FiLM may enter: after the norm of each of 12 convolutions.

    Raises:
        ValueError: A name or width is unknown, or the image is too small.
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (3, 84, 84),
        channels: int = 64,
        norm: str = "batch",
        activation: str = "leaky_relu",
    ):
        super().__init__()
        if channels not in WIDTHS:
            raise ValueError(
                f"channels of resnet12 must be 64 (widths 64-128-256-512) or 80 (64-160-320-640), got {channels}"
            )
        if min(image[1:]) < 16:
            raise ValueError(
                f"images of {image[1]}x{image[2]} cannot be halved four times: at least 16x16 is needed"
            )
        widths = WIDTHS[channels]
        inputs = (image[0], *widths)
        self.blocks = nn.ModuleList(
            ResidualBlock(n, width, norm, activation) for n, width in zip(inputs, widths, strict=False)
        )
        self.film_sizes = tuple(width for width in widths for _ in range(3))
        self.feature_size = widths[-1]
        self.map_shape = (widths[-1], image[1] // 16, image[2] // 16)
        start_filters(self, SLOPE if activation == "leaky_relu" else 0.0)

    def maps(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to the last block's output (N, *map_shape); see `forward`."""
        film = films(film, self.film_sizes)
        for i, block in enumerate(self.blocks):
            images = block(images, statistics, support, film[3 * i : 3 * i + 3])
        return images

    def forward(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to features (N, D); arguments as of `Conv4.forward`."""
        return self.maps(images, statistics, support, film).mean((2, 3))
