"""The LSTM meta-learner (Ravi and Larochelle 2017, "Optimization as a Model for Few-Shot Learning").

Network and linear head start every task from learned weights, and an LSTM says for every weight and step how much of it
is kept and how large a step it takes, after a look at gradient and loss. Both are trained by the query's loss, with
gradients and losses of the inner loop for constants (section 3.4). See `metarl.learned_optimizers.MetaLSTM`.

Differences from the paper: every inner step sees the whole support, also with 5 shots; in testing batch norm goes by the
support's moments at once, where the paper accumulates them; weights start as torch's layers do.
"""

from metarl.learned_optimizers import MetaLSTM
from metarl.supervised.inner_loop import gradient_method, learner
from metarl.supervised.methods.method import Method
from metarl.supervised.presets.meta_lstm import Config


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """The LSTM meta-learner with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do.
        shot: Support images of each class (not needed).
    """
    network = learner(config.backbone, image, min(classes, config.training.way or way))
    rule = MetaLSTM(config.hidden)
    return gradient_method(network, rule, config.inner)
