"""LEO: codes, weights and steps by hand, its meta-gradient, what is frozen."""

import math

import pytest
import torch
import torch.nn.functional as F

from metarl.supervised import preset
from metarl.supervised.latent_codes import (
    Codec,
    Noise,
    Spread,
    correlation,
    decoded,
    divergence,
    encoded,
    scores_of,
)
from metarl.supervised.methods.leo import inner_loop, penalties
from metarl.supervised.presets.pretraining import Pretraining
from metarl.supervised.training import optimizer_of
from metarl.tasks import over_tasks
from tests.supervised.methods.smooth import (
    QUERY,
    SHOT,
    WAY,
    D,
    assert_slope,
    config_of,
    episode,
    episodes,
    gradients,
    made,
    store,
)

SMALL = {
    "latent": 3,
    "hidden": 5,
    "steps": 2,
    "finetuning_steps": 2,
    "pretraining": Pretraining(batch=4),
    "orthogonality": 0.3,
}


def small(**changes):
    return config_of("leo", **{**SMALL, **changes})


def codec(features=2, latent=1, hidden=2):
    params = {
        f"codec.{name}": each.detach().double()
        for name, each in Codec(features, latent, hidden).named_parameters()
    }
    return {name: torch.ones_like(each) for name, each in params.items()}


def test_the_code_of_a_class_by_hand():
    params = codec()
    params["codec.relation.2.weight"] = torch.tensor([[1.0, 0.0], [0.25, 0.0]], dtype=D)
    support = torch.tensor([[1.0, 1.0], [1.0, -3.0]], dtype=D)  # codes 2 and -2, of one class each
    # relu(a + b) = 4, 0, 0, 0 for pairs (1,1), (1,2), (2,1), (2,2); each of the next two units is twice it
    # answers: (8, 2) and 0; averaged over partners: (4, 1) and 0
    found = encoded(params, support, torch.tensor([0, 1]), 2)
    torch.testing.assert_close(found.mean, torch.tensor([[4.0], [0.0]], dtype=D))
    torch.testing.assert_close(found.deviation, torch.tensor([[math.e - 1], [1e-10]], dtype=D))
    half = encoded(params, support, torch.tensor([0, 1]), 2, torch.full((2, 2), 0.5, dtype=D))
    torch.testing.assert_close(half.mean, found.mean / 2)


def test_the_weights_of_a_code_by_hand():
    params = {"codec.decoder.weight": torch.tensor([[1.0], [2.0], [0.0], [-9.0]], dtype=D)}
    found = decoded(params, torch.tensor([[[3.0]], [[0.0]]], dtype=D))  # two classes, one copy, D = 2
    assert found.mean.tolist() == [[[3.0, 6.0]], [[0.0, 0.0]]]
    least = math.sqrt(2 / 4)
    torch.testing.assert_close(found.deviation, torch.tensor([[[least, 1e-10]], [[least, least]]], dtype=D))
    assert found.at(None) is found.mean
    torch.testing.assert_close(found.at(torch.ones(2, 1, 2, dtype=D)), found.mean + found.deviation)


def test_scores_are_averaged_over_copies():
    weights = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 2.0], [0.0, 4.0]]], dtype=D)
    assert scores_of(torch.tensor([[1.0, -1.0]], dtype=D), weights).tolist() == [[2.0, -3.0]]


def test_penalties_by_hand():
    codes = Spread(torch.tensor([1.0, 0.0], dtype=D), torch.tensor([1.0, 2.0], dtype=D))
    # 0.5 (1 + 1 - 1) and 0.5 (4 - 1 - 2 ln 2)
    assert divergence(codes).item() == pytest.approx((0.5 + 1.5 - math.log(2)) / 2)
    standard = torch.distributions.Normal(torch.zeros(2, dtype=D), 1.0)
    torchs = torch.distributions.kl_divergence(torch.distributions.Normal(*codes), standard).mean()
    torch.testing.assert_close(divergence(codes), torchs)
    assert correlation(torch.tensor([[3.0, 0.0], [0.0, -2.0]])).item() == 0
    # columns (1, 0) and (1, 1): their cosine is 1 / sqrt 2, twice among four entries
    assert correlation(torch.tensor([[1.0, 1.0], [0.0, 1.0]])).item() == pytest.approx(2 * 0.5 / 4)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ({"kl": 2.0}, 2 - math.log(2)),  # twice the mean of 1 / 2 and 3 / 2 - ln 2
        ({"encoder_penalty": 3.0}, 7.5),  # of (1 + 4) / 2
        ({"l2": 0.5}, 7.0),  # half of half of 3^2 + 4^2 + 1 + 1 + 1
        ({"orthogonality": 3.0}, 0.75),  # of 1 / 4
    ],
)
def test_each_penalty_has_its_own_factor(factor, expected):
    none = dict.fromkeys(("kl", "encoder_penalty", "l2", "orthogonality"), 0.0)
    codes = Spread(torch.tensor([[1.0, 0.0]], dtype=D), torch.tensor([[1.0, 2.0]], dtype=D))
    params = {
        "codec.encoder.weight": torch.tensor([[3.0, 4.0]], dtype=D),
        "codec.decoder.weight": torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=D),
        "net.weight": torch.ones(9, dtype=D),
    }
    fast = {"start": codes.mean, "code": codes.mean + torch.tensor([[1.0, -2.0]], dtype=D)}
    found = penalties(small(**(none | factor)), params, fast, codes)
    assert found.item() == pytest.approx(expected)


def test_an_inner_step_on_the_code_by_hand():
    config = small(steps=1, finetuning_steps=0)
    torch.manual_seed(0)
    params = {f"codec.{name}": each.detach().double() for name, each in Codec(4, 3, 5).named_parameters()}
    rates = torch.tensor([[0.5, 1.0, 2.0]], dtype=D)
    params |= {"rule.lr.code": rates, "rule.lr.weights": torch.ones(1, 4, dtype=D)}
    support, labels = torch.randn(4, 4, dtype=D), torch.tensor([0, 0, 1, 1])
    fast, spread = inner_loop(config, params, support, labels, 2)
    code = spread.mean.unsqueeze(1).repeat(1, 2, 1).requires_grad_()  # two copies of each class
    weights = decoded(params, code).mean
    loss = F.cross_entropy(support @ weights.mean(1).T, labels, reduction="sum")
    (grad,) = torch.autograd.grad(loss, code)
    torch.testing.assert_close(fast["code"], code - rates * grad)
    torch.testing.assert_close(fast["weights"], decoded(params, fast["code"]).mean)
    torch.testing.assert_close(fast["start"], code.detach())
    # then a step on the weights
    more, _ = inner_loop(small(steps=1, finetuning_steps=1), params, support, labels, 2)
    weights = fast["weights"].detach().requires_grad_()
    loss = F.cross_entropy(support @ weights.mean(1).T, labels, reduction="sum")
    torch.testing.assert_close(more["weights"], weights - torch.autograd.grad(loss, weights)[0])


def test_the_encoder_is_drawn_to_what_the_steps_make_of_its_codes():
    config = small(kl=0.0, l2=0.0, orthogonality=0.0, encoder_penalty=2.0)
    start = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=D, requires_grad=True)
    end = torch.zeros(1, 1, 3, dtype=D, requires_grad=True)
    params = {"codec.decoder.weight": torch.eye(4, dtype=D)[:, :3]}
    spread = Spread(torch.zeros(1, 3, dtype=D), torch.ones(1, 3, dtype=D))
    value = penalties(config, params, {"code": end, "start": start}, spread)
    value.backward()
    assert value.item() == pytest.approx(2 * 14 / 3)
    torch.testing.assert_close(start.grad, 4 / 3 * start.detach())
    assert end.grad is None


def noise_for(config, tasks, seed=7):
    draw = torch.Generator().manual_seed(seed)
    number, size = WAY * SHOT, 4

    def kept(*shape):
        return (torch.rand(tasks, *shape, size, generator=draw) < 0.7).to(D) / 0.7

    return Noise(
        kept(number),
        kept(config.steps + config.finetuning_steps, number),
        kept(WAY * QUERY),
        torch.randn(tasks, WAY, SHOT, config.latent, generator=draw, dtype=D),
        torch.randn(tasks, config.steps + 1, WAY, SHOT, size, generator=draw, dtype=D),
    )


def test_a_step_sees_the_features_that_its_own_draw_keeps():
    """With none kept all scores are equal, and neither codes nor weights move."""
    config = small()
    params = made(config, "leo")[1]
    support, labels = torch.randn(WAY * SHOT, 4, dtype=D), torch.arange(WAY).repeat_interleave(SHOT)
    noise = Noise(*(each[0] for each in noise_for(config, 1)))
    none = noise._replace(support=torch.zeros_like(noise.support))
    fast, _ = inner_loop(config, params, support, labels, WAY, none)
    torch.testing.assert_close(fast["code"], fast["start"], rtol=0, atol=0)
    moved = []
    for step in range(4):
        only = none.support.clone()
        only[step] = 1
        found, _ = inner_loop(config, params, support, labels, WAY, noise._replace(support=only))
        moved.append(
            (not torch.equal(found["code"], fast["code"]), bool((found["weights"] != fast["weights"]).any()))
        )
    assert moved == [(True, True), (True, True), (False, True), (False, True)]


def test_the_meta_gradient_in_testing_and_in_training_is_that_of_finite_differences():
    config = small(frozen=False, encoder_penalty=0.0)  # its stopped gradient is no slope
    method, params = made(config, "leo")
    one = episode()
    grads = gradients(method.task(params, one, "joint")[0], params)
    assert grads["net.blocks.0.conv.weight"].any()
    assert_slope(lambda p: method.task(p, one, "joint")[0], params, grads)
    batch = (episodes(2), noise_for(config, 2))
    grads = gradients(method.stages[1].loss(params, batch)[0], params)
    assert grads["rule.lr.code"].any()
    assert_slope(lambda p: method.stages[1].loss(p, batch)[0], params, grads)


def test_vmap_chunks_and_loop_agree():
    method, params = made(small(frozen=False), "leo")

    def found(**how):
        losses = over_tasks(lambda p, one: method.task(p, one, "joint")[0], **how)(params, episodes(3))
        return gradients(losses.sum(), params)

    loop = found(how="loop")
    torch.testing.assert_close(found(how="vmap"), loop, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found(how="vmap", chunk=2), loop, rtol=1e-9, atol=1e-11)


def test_the_second_part_trains_codec_and_step_sizes():
    config = small()
    method, params = made(config, "leo")
    first, second = optimizer_of(method.module, config.training, 10, method.stages).parts
    assert set(second.parameters) == {name for name in params if name.startswith(("codec.", "rule."))}
    assert "rule.lr.code" in second.parameters
    assert set(first.parameters) == set(params) - set(second.parameters)


def averaged(method):
    """Batch norms with running averages of some kind."""
    for name, buffer in method.module.net.named_buffers():
        start = 1.0 if name.endswith("recorded") else 0.5
        buffer.copy_(torch.linspace(start, 1.5, buffer.numel()).view_as(buffer))


@pytest.mark.parametrize(("frozen", "statistics"), [(True, "running"), (False, "batch")])
def test_a_frozen_network_gives_the_features_of_testing(frozen, statistics):
    config = small(frozen=frozen, kl=0.7, encoder_penalty=0.4, l2=0.01)
    method, params = made(config, "leo")
    averaged(method)
    drawn, noise = episodes(1), noise_for(config, 1)
    images = torch.cat([drawn.support[0], drawn.query[0]])
    features = F.normalize(method.module.net(images, statistics), dim=-1)
    support, query = features.split([len(drawn.support[0]), len(drawn.query[0])])
    one = Noise(*(each[0] for each in noise))
    fast, spread = inner_loop(config, params, support, drawn.support_labels[0], WAY, one)
    wanted = F.cross_entropy(scores_of(query * one.query, fast["weights"]), drawn.query_labels[0])
    found = method.stages[1].loss(params, (drawn, noise))[0]
    squares = sum(each.square().sum() for name, each in params.items() if name.startswith("codec."))
    wanted += 0.7 * divergence(spread) + 0.4 * (fast["code"] - fast["start"]).square().mean()
    wanted += 0.01 * squares / 2 + 0.3 * correlation(params["codec.decoder.weight"])
    torch.testing.assert_close(found, wanted)


def test_episodes_leave_a_frozen_network_as_it_is():
    method, params = made(small(), "leo")
    averaged(method)
    batch = (episodes(2), noise_for(small(), 2))
    grads = gradients(method.stages[1].loss(params, batch)[0], params)
    moved = {name.partition(".")[0] for name, each in grads.items() if each.any()}
    assert moved == {"codec", "rule"}
    first, second = method.stages
    assert first.share == second.share == 0.5
    labelled = first.draw(store(), torch.Generator().manual_seed(0), 0.0)
    labelled = labelled._replace(images=labelled.images.to(D))
    grads = gradients(first.loss(params, labelled)[0], params)
    assert {name.partition(".")[0] for name, each in grads.items() if each.any()} == {"net", "head"}


def test_training_draws_noise_of_the_shapes_it_needs():
    method, _ = made(small(dropout=0.5), "leo")
    _, noise = method.stages[1].draw(store(), torch.Generator().manual_seed(0), 0.0)
    assert [tuple(each.shape) for each in noise] == [
        *((12, 6, 4), (12, 4, 6, 4), (12, 45, 4)),
        *((12, 3, 2, 3), (12, 3, 3, 2, 4)),
    ]
    for kept in (noise.kept, noise.support, noise.query):
        assert set(kept.unique().tolist()) == {0.0, 2.0}


def test_the_published_settings_follow_data_and_shots():
    found = [
        preset("leo", data, 5, shot)
        for data, shot in (("mini-imagenet", 5), ("tiered-imagenet", 1), ("cub", 1))
    ]
    assert [each.training.lr for each in found] == [4.102e-4, 8.659e-4, 2.739e-4]
    assert [each.backbone.name for each in found] == ["resnet12"] * 3
    assert preset("leo", "omniglot", 20, 1).backbone.name == "conv4"


@pytest.mark.parametrize(
    "wrong", [{"latent": 0}, {"kl": -1.0}, {"dropout": 1.0}, {"latent_lr": 0.0}, {"steps": -1}]
)
def test_wrong_settings_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"{name}=.* expected"):
        small(**wrong)


def test_a_frozen_network_that_nothing_trains_needs_a_start():
    none = Pretraining(share=0.0)
    assert (
        "frozen=True leaves the network as it is drawn" in made(small(pretraining=none), "leo")[0].needs_start
    )
    assert not made(small(pretraining=none, frozen=False), "leo")[0].needs_start
    assert not made(small(), "leo")[0].needs_start
