import numpy as np
import pytest
import torch
from torch import nn

from metarl.supervised import one_shot_error
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.method import Method


def runs(wrong):
    """Runs of 20 pictures, each a one at its own place; a query shows its class, or the next where it is to be missed."""
    eye = torch.eye(20).view(20, 1, 4, 5)
    labels = torch.arange(20).expand(len(wrong), 20)
    support = eye.expand(len(wrong), *eye.shape)
    shown = [torch.where(torch.arange(20) < number, labels[0].roll(-1), labels[0]) for number in wrong]
    return Episode(support, labels, torch.stack([eye[each] for each in shown]), labels, labels)


def looker(seen):
    def task(params, episode, statistics):
        seen.append(statistics)
        scores = params["scale"] * episode.query.flatten(1) @ episode.support.flatten(1).T
        return scores.sum(), scores

    module = nn.Module()
    module.scale = nn.Parameter(torch.ones(()))
    return Method(module, task)


def test_errors_are_shares_of_each_run_in_the_mode_asked_for():
    seen = []
    errors = one_shot_error(looker(seen), runs([0, 3, 20]), "support")
    np.testing.assert_allclose(errors, [0, 0.15, 1], atol=1e-6)
    assert seen == ["support"] * 3


def test_by_averages_unless_told_otherwise():
    seen = []
    one_shot_error(looker(seen), runs([1]))
    assert seen == ["running"]


def test_a_single_episode_is_refused():
    single = Episode(*(each[0] for each in runs([0])))
    with pytest.raises(ValueError, match=r"expected \(runs, images, C, H, W\): add a leading axis"):
        one_shot_error(looker([]), single)
