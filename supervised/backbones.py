"""Networks that turn images into features or class scores."""

import torch
from torch import Tensor, nn

from metarl.nn import ConvBlock


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, norm, ReLU and halving, then a linear head (Finn et al. 2017).

    Args:
        image: Channels, height and width of an image: (1, 28, 28) Omniglot, (3, 84, 84) mini-ImageNet. The
            size of the head's input is inferred from it.
        way: Classes the head scores; None: no head, the flat features are returned.
        channels: Filters of each block: 64, or 32 against overfitting on mini-ImageNet.
        halve: "pool" (max-pooling) or "stride" (stride-2 convolutions; the features are then the spatial
            mean, as in MAML's Omniglot network).
        norm: "transductive" (batch norm by the statistics of whatever batch is forwarded: support alone, then
            query alone), "layer", "group" or "none". There are no running averages to mix up.

    Raises:
        ValueError: A name is unknown, or the image is too small to be halved four times.
    """

    def __init__(
        self,
        image: tuple[int, int, int] = (1, 28, 28),
        way: int | None = 5,
        channels: int = 64,
        halve: str = "pool",
        norm: str = "transductive",
    ):
        super().__init__()
        if norm == "batch":
            raise ValueError("norm 'batch' does not say by which statistics: did you mean 'transductive'?")
        if halve not in ("pool", "stride"):
            raise ValueError(f"halve must be 'pool' or 'stride', got {halve!r}")
        if halve == "pool" and min(image[1:]) < 16:
            raise ValueError(
                f"images of {image[1]}x{image[2]} cannot be halved four times: at least 16x16 is needed"
            )
        block_norm = "batch" if norm == "transductive" else norm
        inputs = (image[0], channels, channels, channels)
        self.blocks = nn.Sequential(*(ConvBlock(n, channels, norm=block_norm, halve=halve) for n in inputs))
        self.spatial_mean = halve == "stride"
        with torch.no_grad():
            self.feature_size = self.features(torch.zeros(2, *image)).shape[1]
        self.head = nn.Linear(self.feature_size, way) if way is not None else None

    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to features (N, feature_size)."""
        maps = self.blocks(images)
        return maps.mean((2, 3)) if self.spatial_mean else maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to class scores (N, way), or to features where there is no head."""
        features = self.features(images)
        return features if self.head is None else self.head(features)
