"""Meta-SGD (Li, Zhou, Chen and Li 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning").

MAML whose step sizes are learned, too, one for every entry of every weight: theta' = theta - a * grad L_support(theta),
entry by entry, for one step (equation 4); theta and a both minimise the mean of L_query(theta') over tasks. Step sizes
may become negative.

Differences from the paper: those of `metarl.supervised.methods.maml`; step sizes start equal, at `inner.lr`, where the
paper draws them; with several inner steps all share the same.
"""

from metarl.supervised.inner_loop import gradient_method, head_rate, learner_of
from metarl.supervised.methods.method import Method
from metarl.supervised.presets.meta_sgd import Config
from metarl.update_rules import LearnedSGD


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """Meta-SGD with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do (see `metarl.supervised.inner_loop.with_ways`).
        shot: Support images of each class (not needed).
    """
    inner = config.inner
    network = learner_of(config, image, classes, way)
    rule = LearnedSGD(inner.lr, "parameter", True, inner.clip, "value", head_rate(config.head_lr))
    return gradient_method(network, rule, inner)
