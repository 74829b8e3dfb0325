"""MAML (Finn, Abbeel and Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks").

Network and linear head start every task from the same weights, theta, which learn to be a good start: with
theta_0 = theta and theta_{k+1} = theta_k - a grad L_support(theta_k) (equation 1), theta minimises the mean over tasks
of L_query(theta_K) (section 3.1, with the exact gradient through the inner one).

Differences from the paper: weights start as torch's layers do, not by normal distributions; scale and shift of batch
norm adapt, too (not with `inner.adapted` "no-norms"), where the authors' code has no scale and keeps the shift;
L_support is a mean over the support, for the step sizes see `metarl.supervised.presets.maml`; the best state in
validation is kept.
"""

from metarl.supervised.inner_loop import gradient_method, learner_of, sgd
from metarl.supervised.methods.method import Method
from metarl.supervised.presets.maml import Config


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """MAML with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do (see `metarl.supervised.inner_loop.with_ways`).
        shot: Support images of each class (not needed).
    """
    network = learner_of(config, image, classes, way)
    return gradient_method(network, sgd(config.inner, config.head_lr), config.inner)
