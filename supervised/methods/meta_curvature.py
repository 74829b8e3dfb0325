"""Meta-Curvature (Park and Oliva 2019, "Meta-Curvature").

MAML whose inner gradients go through learned matrices, one for every axis of every tensor, before the step; they start as
identities and are trained with the network. See `metarl.preconditioners.MetaCurvature`.

Differences from the paper: the head's outputs are classes, which have no matrix, so that any number of ways will do;
other differences are those of `metarl.supervised.methods.maml`.
"""

from metarl.preconditioners import MetaCurvature
from metarl.supervised.inner_loop import gradient_method, learner_of, sgd
from metarl.supervised.methods.method import Method
from metarl.supervised.presets.meta_curvature import Config


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """Meta-Curvature with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do.
        shot: Support images of each class (not needed).
    """
    network = learner_of(config, image, classes, way)
    rule = MetaCurvature(sgd(config.inner, config.head_lr), plain=("head.*",))
    return gradient_method(network, rule, config.inner)
