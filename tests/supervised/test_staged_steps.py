"""An optimiser for each part of a training."""

from dataclasses import replace

import pytest
import torch

from metarl.meta_optimizers import GradientSteps
from metarl.supervised.methods.config import EpisodicTraining
from metarl.supervised.methods.method import Stage
from metarl.supervised.staged_steps import StagedSteps
from metarl.supervised.training import optimizer_of


def test_each_part_has_its_turn():
    x, y = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    steps = StagedSteps(
        [GradientSteps({"x": x}, 0.1, kind="sgd"), GradientSteps({"x": x, "y": y}, 0.5, kind="sgd")], [2]
    )
    seen = []
    for _ in range(4):
        steps.update(lambda: ((x + y).sum(), {}))
        seen.append((round(float(x.detach()), 4), round(float(y.detach()), 4)))
    assert seen == [(0.9, 1.0), (0.8, 1.0), (0.3, 0.5), (-0.2, 0.0)]


def test_stages_with_optimisers_of_their_own_share_out_the_updates():
    module = torch.nn.Module()
    module.a, module.b = (torch.nn.Parameter(torch.ones(())) for _ in range(2))
    usual = EpisodicTraining(optimizer="sgd", lr=1.0)
    first = Stage(None, None, 0.5, replace(usual, milestones=(0.5,), decay=0.1), ("a",))
    optimizer = optimizer_of(module, usual, 8, [first])
    assert (optimizer.ends, [list(part.parameters) for part in optimizer.parts]) == ([4], [["a"], ["a", "b"]])
    rates = [optimizer.update(lambda: (module.a + module.b, {})).get("lr", 1.0) for _ in range(6)]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1, 1.0, 1.0])
    whole = optimizer_of(module, usual, 8, [first, replace(first, trains=("b",))])
    assert (whole.ends, [list(part.parameters) for part in whole.parts]) == ([4], [["a"], ["b"]])
    with pytest.raises(ValueError, match="every stage"):
        optimizer_of(module, usual, 8, [first, Stage(None, None, 0.5)])


def test_a_stage_can_train_what_an_update_rule_learns():
    module = torch.nn.Module()
    module.rule, module.net = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    stage = Stage(None, None, 0.5, EpisodicTraining(), ("rule.*",))
    optimizer = optimizer_of(module, EpisodicTraining(), 8, [stage])
    assert [list(part.parameters) for part in optimizer.parts] == [
        ["rule.weight"],
        ["rule.weight", "net.weight"],
    ]
    with pytest.raises(ValueError, match=r"'nets\.\*' matches nothing"):
        optimizer_of(module, EpisodicTraining(), 8, [replace(stage, trains=("nets.*",))])


def test_what_does_not_fit_is_refused():
    part = GradientSteps([torch.ones(1, requires_grad=True)], 0.1)
    with pytest.raises(ValueError, match="rising ends"):
        StagedSteps([part, part], [])
    with pytest.raises(ValueError, match="config changed"):
        StagedSteps([part], []).load_state_dict({})
