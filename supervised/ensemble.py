"""Several states of a method that answer together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metarl import checkpoints
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.task_kinds import query_loss

__all__ = ["ensemble"]


def ensemble(members: Sequence[Method]) -> Method:
    """A method for testing whose scores are the mean of its members' (How to Train Your MAML, Antoniou et al. 2019).

    Each member adapts by itself. As in the code of that paper scores are averaged before the softmax.

    Args:
        members: Methods of one kind, each with a module of its own.
    """

    def task(params: Params, episode: Any, statistics: Statistics) -> tuple[Tensor, Tensor]:
        found = [
            member.tested(checkpoints.under(str(place), params), episode, statistics)[1]
            for place, member in enumerate(members)
        ]
        scores = torch.stack(found).mean(0)
        return query_loss(scores, episode), scores

    return Method(nn.ModuleList(member.module for member in members), task)
