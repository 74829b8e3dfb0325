"""No network: for data that are features already."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from metarl.nn import Film
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films


class Identity(nn.Module):
    """Inputs of any shape as they are.

    Args:
        image: Shape of an input.

    Attributes:
        feature_size: Numbers of an input.
        map_shape: Shape of an input.
        film_sizes: Empty: FiLM enters nowhere.
    """

    def __init__(self, image: Sequence[int]):
        super().__init__()
        self.feature_size, self.map_shape = math.prod(image), tuple(image)
        self.film_sizes: tuple[int, ...] = ()

    def maps(
        self,
        inputs: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """The inputs; see `forward`."""
        films(film, self.film_sizes)
        return inputs

    def forward(
        self,
        inputs: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Inputs (N, *image) to features (N, feature_size).

        Args:
            inputs: A batch.
            statistics: Means nothing here: there is no norm.
            support: Likewise.
            film: None, or nothing for each of no layers.
        """
        return self.maps(inputs, statistics, support, film).flatten(1)
