"""Wide residual network 28-10 (Zagoruyko and Komodakis 2016), the network behind LEO's features.

Three groups of four blocks. A block is norm, nonlinearity and 3x3 convolution, twice, added to its input. The last
maps are normalised and averaged.

Legend: N images, C channels, H and W height and width, D features.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from metarl.nn import Film, conv2d, modulate, norm_layer, normalise
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films
from metarl.supervised.backbones.residual import residual_activation, start_filters


class WideBlock(nn.Module):
    """Pre-activated block; a 1x1 convolution is the shortcut where the shape changes.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the first convolution and of the shortcut.
        norm: "batch", "layer", "group" or "none".
        activation: "relu", "leaky_relu" (slope 0.1) or "silu".
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str, activation: str):
        super().__init__()
        self.norms = nn.ModuleList((norm_layer(norm, inputs), norm_layer(norm, outputs)))
        self.convs = nn.ModuleList(
            (
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            )
        )
        changes = stride > 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None
        self.stride = stride
        self.act = residual_activation(activation)

    def forward(
        self, x: Tensor, statistics: BatchStatistics, support: int, film: Sequence[Film | None]
    ) -> Tensor:
        """Shape (N, inputs, H, W) to (N, outputs, H', W'); `film` has one entry per norm."""
        first = self.act(modulate(normalise(self.norms[0], x, statistics, support), film[0]))
        y = conv2d(first, self.convs[0].weight, None, self.stride, 1)
        y = self.act(modulate(normalise(self.norms[1], y, statistics, support), film[1]))
        y = conv2d(y, self.convs[1].weight, None, 1, 1)
        return y + (x if self.shortcut is None else conv2d(first, self.shortcut.weight, None, self.stride))


class WideResNet(nn.Module):
    """Images to features.

    Args:
        image: Channels, height and width of an image, at least 4x4; 80x80 and 84x84 are usual.
        depth: Layers, 6 n + 4.
        widen: Factor on the widths 16, 32 and 64.
        norm: "batch", "layer", "group" or "none".
        activation: "relu", "leaky_relu" (slope 0.1) or "silu".

    Attributes:
        feature_size: D, 64 times the factor.
        map_shape: (C, H, W) of what is averaged.
        film_sizes: Channels at every place where FiLM may enter: after each norm, the last one included.

    Raises:
        ValueError: The depth or a name is wrong, or the image is too small.
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (3, 80, 80),
        depth: int = 28,
        widen: int = 10,
        norm: str = "batch",
        activation: str = "relu",
    ):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth of a wide residual network must be 6 n + 4, such as 28, got {depth}")
        if min(image[1:]) < 4:
            raise ValueError(
                f"images of {image[1]}x{image[2]} cannot be halved twice: at least 4x4 is needed"
            )
        self.first = nn.Conv2d(image[0], 16, 3, padding=1, bias=False)
        blocks, sizes, inputs = [], [], 16
        for width, stride in zip((16 * widen, 32 * widen, 64 * widen), (1, 2, 2), strict=True):
            for i in range((depth - 4) // 6):
                blocks.append(WideBlock(inputs, width, stride if i == 0 else 1, norm, activation))
                sizes += [inputs, width]
                inputs = width
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm_layer(norm, inputs)
        self.act = residual_activation(activation)
        self.film_sizes = (*sizes, inputs)
        self.feature_size = inputs
        self.map_shape = (inputs, *((side + 3) // 4 for side in image[1:]))
        start_filters(self)

    def maps(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to the normalised last maps (N, *map_shape); see `forward`."""
        film = films(film, self.film_sizes)
        x = conv2d(images, self.first.weight, None, 1, 1)
        for i, block in enumerate(self.blocks):
            x = block(x, statistics, support, film[2 * i : 2 * i + 2])
        return self.act(modulate(normalise(self.norm, x, statistics, support), film[-1]))

    def forward(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to features (N, D); arguments as of `Conv4.forward`."""
        return self.maps(images, statistics, support, film).mean((2, 3))
