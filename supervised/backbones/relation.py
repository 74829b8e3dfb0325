"""The encoder of relation networks (Sung et al. 2018).

Two blocks of 3x3 convolution without padding, norm, nonlinearity and 2x2 max-pooling; two with padding and without
pooling. Its maps are what relations are learned on.

Legend: N images, C channels, H and W height and width, D features.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from metarl.nn import ConvBlock, Film
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films


class RelationEncoder(nn.Module):
    """Images to maps, or to flat features.

    Args:
        image: Channels, height and width of an image, at least 10x10.
        channels: Filters of each block.
        norm: "batch", "layer", "group" or "none".
        activation: Name of the nonlinearity.

    Attributes:
        feature_size: D, the size of the flat maps.
        map_shape: (C, H, W) of the last block's output: (64, 5, 5) for 28x28 images, (64, 19, 19) for 84x84.
        film_sizes: Channels at every place where FiLM may enter, one per block.

    Raises:
        ValueError: A name is unknown, or the image is too small.
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 28, 28),
        channels: int = 64,
        norm: str = "batch",
        activation: str = "relu",
    ):
        super().__init__()
        if min(image[1:]) < 10:
            raise ValueError(
                f"the relation encoder needs images of at least 10x10, got {image[1]}x{image[2]}"
            )
        inputs, kinds = (image[0], channels, channels, channels), (("pool", 0),) * 2 + (("none", 1),) * 2
        self.blocks = nn.ModuleList(
            ConvBlock(n, channels, norm, halve, activation, padding)
            for n, (halve, padding) in zip(inputs, kinds, strict=True)
        )
        self.film_sizes = (channels,) * 4
        self.map_shape = (channels, *(((side - 2) // 2 - 2) // 2 for side in image[1:]))
        self.feature_size = channels * self.map_shape[1] * self.map_shape[2]

    def maps(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to the last block's output (N, *map_shape); arguments as of `Conv4.forward`."""
        for block, each in zip(self.blocks, films(film, self.film_sizes), strict=True):
            images = block(images, statistics, support, each)
        return images

    def forward(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to flat maps (N, D); arguments as of `Conv4.forward`."""
        return self.maps(images, statistics, support, film).flatten(1)
