"""How often a method errs on Lake's 20 one-shot runs, on which people and other programs have been tested.

Published errors, as Koch et al. 2015 list them: people 4.5 %, hierarchical Bayesian program learning 4.8 %, their
Siamese networks 8.0 %. The modified Hausdorff distance between drawings errs on 38.8 %.

Legend: R runs, W ways.
"""

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method
from metarl.supervised.task_kinds import accuracy_of


@torch.no_grad()
def one_shot_error(method: Method, runs: Episode, statistics: Statistics = "running") -> np.ndarray:
    """Share of the drawings of each run that a method takes for another character.

    The published number is the mean over runs. With "joint" and "transductive" statistics a run's other drawings help,
    which is more than people had.

    Args:
        method: Trained on other alphabets (`omniglot-lake`; the `omniglot` split has seen some of these characters).
        runs: What `metarl.supervised.one_shot_runs` gave, in the size that the method was built for and on its device.
        statistics: By which images batch norm normalises.

    Returns:
        Shape (R,), in [0, 1].

    Raises:
        ValueError: The runs have no leading axis.
    """
    if runs.support.dim() != 5:
        raise ValueError(
            f"runs have support images of shape {tuple(runs.support.shape)}, expected (runs, images, C, H, W): add a "
            "leading axis to a single episode"
        )
    params = {name: each.detach() for name, each in method.module.named_parameters()}
    right: list[Tensor] = []
    for number in range(len(runs.support)):
        episode = pytree.tree_map(lambda each, number=number: each[number], runs)
        right.append(accuracy_of(method.tested(params, episode, statistics)[1], episode))
    return 1 - torch.stack(right).double().cpu().numpy()
