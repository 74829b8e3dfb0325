"""MAML along geodesics: the inner loop turns the matrices of layers and never stretches them.

The plainest reading of an inner update on a Lie group, which surveys name and no paper tries; to be compared with MAML.
A step of gradient descent becomes a rotation (`metarl.preconditioners.Geodesic`), so that a task leaves the singular
values of every layer as they are. Layers start with orthonormal rows (or columns); the outer loop trains them without
that constraint. The head, norms and biases take plain steps.

Differences from MAML's paper: those of `metarl.supervised.methods.maml`.
"""

from torch import nn

from metarl.preconditioners import Geodesic
from metarl.supervised.inner_loop import check_layers_adapt, gradient_method, learner_of, sgd
from metarl.supervised.methods.method import Method
from metarl.supervised.presets.geodesic import Config


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """MAML along geodesics with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do.
        shot: Support images of each class (not needed).
    """
    network = learner_of(config, image, classes, way)
    check_layers_adapt(network, config.inner, "geodesic")
    for value in network.module.net.parameters():
        if value.dim() > 1:
            nn.init.orthogonal_(value)
    return gradient_method(
        network, Geodesic(sgd(config.inner, config.head_lr), plain=("head.*",)), config.inner
    )
