"""A perceptron of two layers, the network of sinusoid regression (Finn et al. 2017, section 5.1).

Legend: N inputs, D features.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from metarl.nn import Film, Linear, nonlinearity
from metarl.nn.norms import BatchStatistics
from metarl.supervised.backbones.film import films


class Perceptron(nn.Module):
    """Inputs of any shape to features, by two layers of equal width, each followed by the nonlinearity.

    Args:
        image: Shape of an input: (1,) for a number, or channels, height and width, which are taken as one row.
        units: D, the width of both layers.
        activation: Name of the nonlinearity.

    Attributes:
        feature_size: D.
        map_shape: (D,).
        film_sizes: Units at every place where FiLM may enter, before the nonlinearity of each layer.
    """

    def __init__(self, image: Sequence[int] = (1,), units: int = 40, activation: str = "relu"):
        super().__init__()
        self.act = nonlinearity(activation)
        self.layers = nn.ModuleList(Linear(size, units) for size in (math.prod(image), units))
        self.feature_size, self.map_shape, self.film_sizes = units, (units,), (units, units)

    def maps(
        self,
        inputs: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """The features; see `forward`."""
        x = inputs.flatten(1)
        for layer, each in zip(self.layers, films(film, self.film_sizes), strict=True):
            x = layer(x)
            x = self.act(x if each is None else x * each[0] + each[1])
        return x

    def forward(
        self,
        inputs: Tensor,
        statistics: BatchStatistics = "batch",
        support: int = 0,
        film: Sequence[Film | None] | None = None,
    ) -> Tensor:
        """Inputs (N, *image) to features (N, D).

        Args:
            inputs: A batch.
            statistics: Means nothing here: there is no norm.
            support: Likewise.
            film: For each layer scale and shift before the nonlinearity, or None.
        """
        return self.maps(inputs, statistics, support, film)
