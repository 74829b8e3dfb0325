"""Conv4, the network of most few-shot papers (Vinyals et al. 2016, Snell et al. 2017, Finn et al. 2017).

Four blocks of 3x3 convolution, norm, nonlinearity and halving of the image.

Legend: N images, C channels, H and W height and width, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl.nn import ConvBlock, Film
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films


class Conv4(nn.Module):
    """Images to features.

    Args:
        image: Channels, height and width of an image: (1, 28, 28) Omniglot, (3, 84, 84) mini-ImageNet. All sizes
            follow from it.
        channels: Filters of each block: 64, or 32 against overfitting on mini-ImageNet.
        halve: "pool" (max-pooling; the features are the flat maps) or "stride" (stride-2 convolutions; the
            features are the spatial mean, as in MAML's Omniglot network).
        norm: "batch", "layer", "group" or "none".
        activation: Name of the nonlinearity.

    Attributes:
        feature_size: D.
        map_shape: (C, H, W) of the last block's output.
        film_sizes: Channels at every place where FiLM may enter, one per block.

    Raises:
        ValueError: A name is unknown, or the image is too small to be halved four times.
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 28, 28),
        channels: int = 64,
        halve: str = "pool",
        norm: str = "batch",
        activation: str = "relu",
    ):
        super().__init__()
        if halve not in ("pool", "stride"):
            raise ValueError(f"halve must be 'pool' or 'stride', got {halve!r}")
        if halve == "pool" and min(image[1:]) < 16:
            raise ValueError(
                f"images of {image[1]}x{image[2]} cannot be halved four times: at least 16x16 is needed"
            )
        inputs = (image[0], channels, channels, channels)
        self.blocks = nn.ModuleList(ConvBlock(n, channels, norm, halve, activation) for n in inputs)
        self.spatial_mean = halve == "stride"
        self.film_sizes = (channels,) * 4
        with torch.no_grad():
            self.map_shape = tuple(self.maps(torch.zeros(2, *image)).shape[1:])
        self.feature_size = (
            channels if self.spatial_mean else self.map_shape[1] * self.map_shape[2] * channels
        )

    def maps(
        self,
        images: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Images (N, C, H, W) to the last block's output (N, *map_shape); see `forward`."""
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
        """Images (N, C, H, W) to features (N, D).

        Args:
            images: A batch; with "support" statistics the support comes first.
            statistics: What batch norm normalises by.
            support: How many rows are the support.
            film: For each place in `film_sizes` scale and shift before the nonlinearity, or None.
        """
        maps = self.maps(images, statistics, support, film)
        return maps.mean((2, 3)) if self.spatial_mean else maps.flatten(1)
