"""T-Net and MT-Net (Lee and Choi 2018, "Gradient-Based Meta-Learning with Learned Layerwise Metric and Subspace").

MAML in which every layer W is followed by a learned linear map T that does not adapt, so that the inner step on W has
the metric of T. In an MT-Net (`masked`) it is also learned which outputs of a layer adapt at all: each does with a
probability of its own, drawn anew for every training task and the same in all its steps. See
`metarl.preconditioners.TNet`.

Differences from the paper: what is kept is V = T W, not W, which gives the same steps and another start to learn from;
the head, whose outputs are classes, has no T, so that any number of ways will do; a mask is a number between 0 and 1, not
0 or 1 (the authors' code rounds it and passes the gradient through), and biases have none; in testing it is its value
without noise; other differences are those of `metarl.supervised.methods.maml`.
"""

from typing import Any

import torch
from torch import Tensor

from metarl.preconditioners import TNet
from metarl.supervised.episode_stage import prepared_stage
from metarl.supervised.inner_loop import check_layers_adapt, gradient_method, learner_of, sgd
from metarl.supervised.methods.method import Method, Params, Stage, Task
from metarl.supervised.presets.t_net import Config
from metarl.supervised.task_kinds import measure_of

MASK = "rule.mask."
NOISE = "rule.noise."


def build(config: Config, image: tuple[int, ...], classes: int, way: int, shot: int) -> Method:
    """T-Net or MT-Net with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width; (1,) for a regression.
        classes: Training classes; 1 for a regression.
        way: Classes of an episode in testing; others will do.
        shot: Support images of each class, in training unless the settings say otherwise.
    """
    network = learner_of(config, image, classes, way)
    check_layers_adapt(network, config.inner, "t-net")
    rule = TNet(sgd(config.inner, config.head_lr), config.masked, config.temperature, plain=("head.*",))
    method = gradient_method(network, rule, config.inner)
    if not config.masked:
        return method
    params = method.module.named_parameters()
    sizes = {name.removeprefix(MASK): len(each) for name, each in params if name.startswith(MASK)}
    return Method(method.module, method.task, (_masked(config, method.task, sizes, way, shot),), method.test)


def _masked(config: Config, task: Task, sizes: dict[str, int], way: int, shot: int) -> Stage:
    """The whole training, with a mask drawn for every task.

    Args:
        config: Settings.
        task: Heeds `rule.noise.*` among the params.
        sizes: Outputs of every layer that has a mask.
        way: Of a training episode, unless the settings say otherwise.
        shot: Likewise.
    """

    def prepare(episodes: Any, generator: torch.Generator) -> tuple[Any, dict[str, Tensor]]:
        tasks, like = len(episodes.support), episodes.support
        return episodes, {
            f"{NOISE}{name}": torch.rand(tasks, size, generator=generator)
            .clamp(1e-6, 1 - 1e-6)
            .logit()
            .to(like)
            for name, size in sizes.items()
        }

    def one(params: Params, prepared: tuple[Any, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        episode, noise = prepared
        loss, scores = task({**params, **noise}, episode, config.training.statistics)
        measure = measure_of(episode)
        return loss, {measure.name: measure.of(scores.detach(), episode)}

    return prepared_stage(config.training, way, shot, prepare, one)
