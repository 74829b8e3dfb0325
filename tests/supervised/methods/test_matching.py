"""Matching networks: attention, full context, what their settings mean."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from metarl.supervised.episodes import Episode
from metarl.supervised.methods import build, preset
from metarl.supervised.methods.matching import FullContext, log_attention

IMAGE = (1, 16, 16)


def small(**changes):
    config = preset("matching", "strokes", 5, 1)
    return replace(config, backbone=replace(config.backbone, channels=4), **changes)


def episode(way=3, shot=2, query=4):
    draw = torch.Generator().manual_seed(0)
    labels = [torch.arange(way).repeat_interleave(number) for number in (shot, query)]
    pictures = [torch.randn(len(each), *IMAGE, generator=draw) for each in labels]
    return Episode(pictures[0], labels[0], pictures[1], labels[1], torch.arange(way))


def test_attention_by_hand():
    weights = torch.tensor([[0.0, math.log(2), math.log(3)]])
    found = log_attention(weights, torch.tensor([1, 0, 1]), 2).exp()
    torch.testing.assert_close(found, torch.tensor([[2 / 6, 4 / 6]]))


def test_a_class_without_images_gets_no_attention_and_harms_no_gradient():
    weights = torch.zeros(1, 2, requires_grad=True)
    scores = log_attention(weights, torch.tensor([0, 1]), 3)
    scores[0, 0].backward()
    assert scores.softmax(-1).tolist() == [[0.5, 0.5, 0.0]]
    torch.testing.assert_close(weights.grad, torch.tensor([[0.5, -0.5]]))


def test_scores_are_log_probabilities_of_summed_attention():
    method = build("matching", small(scale=4.0), IMAGE, 9, 3, 2)
    params, given = dict(method.module.named_parameters()), episode()
    loss, scores = method.task(params, given, "joint")
    features = nn.functional.normalize(method.module.net(torch.cat([given.support, given.query])))
    expected = (4 * features[6:] @ features[:6].T).softmax(-1).view(12, 3, 2).sum(-1)
    torch.testing.assert_close(scores.exp(), expected)
    torch.testing.assert_close(loss, -expected[torch.arange(12), given.query_labels].log().mean())
    loss.backward()
    assert method.module.log_scale.grad.abs() > 0


def test_full_context_against_torchs_own_lstms():
    torch.manual_seed(0)
    context, support, query = FullContext(5, reads=2), torch.randn(6, 5), torch.randn(4, 5)
    both = nn.LSTM(5, 5, bidirectional=True, bias=False)
    reader = nn.LSTMCell(10, 5)
    with torch.no_grad():
        for cell, end in ((context.forwards, ""), (context.backwards, "_reverse")):
            getattr(both, f"weight_ih_l0{end}").copy_(cell.weight_ih)
            getattr(both, f"weight_hh_l0{end}").copy_(cell.weight_hh)
        reader.weight_ih.copy_(context.reader.weight_ih)
        reader.weight_hh.copy_(context.reader.weight_hh)
        reader.bias_ih.zero_(), reader.bias_hh.zero_()
        memory = support + both(support)[0].view(6, 2, 5).sum(1)
        hidden, cell = reader(torch.cat([query, memory.mean(0).expand(4, 5)], 1))
        hidden = hidden + query
        read = torch.softmax(hidden @ memory.T, 1) @ memory
        hidden = reader(torch.cat([query, read], 1), (hidden, cell))[0] + query
        found = context(support, query)
    torch.testing.assert_close(found, (memory, hidden))


def test_full_context_looks_at_the_whole_support():
    changed = episode()
    changed.support[5] += 1.0
    without_norm = replace(small().backbone, norm="none")
    for full, same in ((False, True), (True, False)):
        method = build("matching", replace(small(full_context=full), backbone=without_norm), IMAGE, 9, 3, 2)
        params = dict(method.module.named_parameters())
        logits = [method.task(params, each, "joint")[1] for each in (episode(), changed)]
        odds = [each[:, 0] - each[:, 1] for each in logits]  # of two classes whose images did not change
        assert torch.allclose(*odds, atol=1e-6) == same


@pytest.mark.parametrize("wrong", [{"distance": "euclid"}, {"scale": -1.0}, {"reads": 0}])
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)
