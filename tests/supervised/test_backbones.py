"""Sizes, interface and exactness of every backbone."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metarl.nn import refuse_fused_norms, stateless
from metarl.supervised.backbones import (
    BACKBONES,
    Conv4,
    Identity,
    Koch,
    Perceptron,
    RelationEncoder,
    ResNet12,
    WideResNet,
    backbone,
)
from metarl.supervised.methods.config import Backbone

D = torch.float64
SMALL = {
    "conv4": lambda **kw: Conv4((2, 16, 17), channels=4, **kw),
    "conv4-stride": lambda **kw: Conv4((2, 17, 16), channels=4, halve="stride", **kw),
    "resnet12": lambda **kw: ResNet12((2, 16, 17), **kw),
    "wide": lambda **kw: WideResNet((2, 9, 8), depth=10, widen=1, **kw),
    "koch": lambda **kw: Koch((1, 65, 66), units=8, **kw),
    "relation": lambda **kw: RelationEncoder((2, 11, 12), channels=4, **kw),
}
"""Every architecture, as small as it goes."""
IMAGES = {
    "conv4": (2, 16, 17),
    "conv4-stride": (2, 17, 16),
    "resnet12": (2, 16, 17),
    "wide": (2, 9, 8),
    "koch": (1, 65, 66),
    "relation": (2, 11, 12),
}


def images(name, number, seed=0, dtype=D):
    return torch.randn(number, *IMAGES[name], dtype=dtype, generator=torch.Generator().manual_seed(seed))


def smooth(name, **kw):
    """A small network without kinks (but the maxima of pooling), with features of ordinary size."""
    torch.manual_seed(0)
    net = SMALL[name](norm="batch", activation="silu", **kw).to(D)
    with torch.no_grad():
        for each in net.parameters():
            each += 0.1 * torch.randn_like(each)
    return net


@pytest.mark.parametrize(
    ("make", "features", "parameters"),
    [
        (lambda: Conv4((1, 28, 28)), 64, 111_936 - 256),
        (lambda: Conv4((1, 28, 28), halve="stride"), 64, 111_936 - 256),
        (lambda: Conv4((3, 84, 84), channels=32), 800, 28_896 - 128),
        (lambda: Conv4((3, 84, 84)), 1600, 113_088 - 256),
        (lambda: Conv4((1, 28, 28), norm="group"), 64, 111_936),
        (lambda: ResNet12((3, 84, 84), 64), 512, 7_996_800),
        (lambda: ResNet12((3, 84, 84), 80), 640, 12_424_320),
        (lambda: WideResNet((3, 80, 80)), 640, 36_479_194 - 6_410),
        (lambda: Koch((1, 105, 105)), 4096, 38_951_745 - 4_097),
        (lambda: RelationEncoder((1, 28, 28)), 64 * 5 * 5, 111_936 - 256),
        (lambda: RelationEncoder((3, 84, 84)), 64 * 19 * 19, 113_088 - 256),
    ],
)
def test_sizes_are_the_published_ones(make, features, parameters):
    """Less what is subtracted: biases before batch norm, or the paper's classifier."""
    with torch.device("meta"):
        net = make()
    assert net.feature_size == features
    assert sum(value.numel() for value in net.parameters()) == parameters
    refuse_fused_norms(net)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_features_and_maps_have_the_stated_shapes(name, norm):
    torch.manual_seed(0)  # four filters can all be dead at the start
    net = SMALL[name](norm=norm)
    x = images(name, 3, dtype=torch.float32)
    assert net(x).shape == (3, net.feature_size)
    assert net.maps(x).shape == (3, *net.map_shape)
    assert net(x).std() > 0


@pytest.mark.parametrize("name", SMALL)
def test_film_enters_at_every_place(name):
    net, x = smooth(name), images(name, 3)
    plain = net(x)
    neutral = [(torch.ones(n, dtype=D), torch.zeros(n, dtype=D)) for n in net.film_sizes]
    torch.testing.assert_close(net(x, film=neutral), plain, rtol=1e-12, atol=1e-12)
    for place, size in enumerate(net.film_sizes):
        film = [None] * len(net.film_sizes)
        film[place] = torch.linspace(0.5, 2, size, dtype=D), torch.linspace(-1, 1, size, dtype=D)
        assert not torch.allclose(net(x, film=film), plain, rtol=1e-4)
    with pytest.raises(ValueError, match=f"each of {len(net.film_sizes)} places"):
        net(x, film=neutral[1:])
    with pytest.raises(ValueError, match="place 0 needs scale and shift"):
        net(x, film=[(torch.ones(1), torch.ones(1)), *neutral[1:]])


@pytest.mark.parametrize("name", SMALL)
def test_statistics_reach_every_norm(name):
    """Of support rows alone: the support's own features, and a query's that no other query changes."""
    net, x = smooth(name), images(name, 7)
    by_support = net(x, statistics="support", support=4)
    torch.testing.assert_close(by_support[:4], net(x[:4]), rtol=1e-8, atol=1e-10)
    alone = net(x[[0, 1, 2, 3, 5]], statistics="support", support=4)
    torch.testing.assert_close(by_support[5], alone[4], rtol=1e-8, atol=1e-10)
    assert not torch.allclose(by_support[5], net(x)[5], rtol=1e-4)
    with pytest.raises(ValueError, match="no averages yet"):
        net(x, statistics="running")


def query_loss(net, params, support, query):
    """A query loss after one exact inner step: its gradient needs second derivatives."""

    def loss(params, x):
        return functional_call(net, params, (x,)).square().mean()

    grads = torch.func.grad(loss)(params, support)
    return loss({name: value - 0.1 * grads[name] for name, value in params.items()}, query)


@pytest.mark.parametrize("name", SMALL)
def test_meta_gradient_of_vmap_equals_that_of_a_loop_and_finite_differences(name):
    net = smooth(name)
    params = {key: value.detach() for key, value in net.named_parameters()}
    support, query = images(name, 6, seed=1).view(2, 3, *IMAGES[name]), images(name, 6, seed=2)
    query = query.view(2, 3, *IMAGES[name])

    def loop(params):
        return sum(query_loss(net, params, s, q) for s, q in zip(support, query, strict=True))

    def batched(params):
        return torch.vmap(lambda s, q: query_loss(net, params, s, q))(support, query).sum()

    by_loop, by_vmap = torch.func.grad(loop)(params), torch.func.grad(batched)(params)
    scale = max(value.abs().max() for value in by_loop.values())
    direction = {key: torch.randn_like(value) for key, value in params.items()}
    length = sum(value.square().sum() for value in direction.values()).sqrt()
    for key in params:
        assert (by_loop[key] - by_vmap[key]).abs().max() < 1e-9 * scale
    slope = sum((by_loop[key] * direction[key]).sum() for key in params)
    errors = []
    for step in (1e-4 / length, 1e-5 / length, 1e-6 / length):  # another maximum may win within a long one
        up, down = (loop({k: v + way * step * direction[k] for k, v in params.items()}) for way in (1, -1))
        errors.append(abs((up - down) / (2 * step) - slope))
    assert min(errors) < 1e-5 * abs(slope)


@pytest.mark.parametrize("name", SMALL)
def test_plain_and_transformed_code_agree_through_second_derivatives(name):
    """The hand-written derivatives of plain code on a CPU against torch.func's."""
    net = smooth(name)
    params = {key: value.detach().requires_grad_() for key, value in net.named_parameters()}
    support, query, f = images(name, 3, seed=1), images(name, 3, seed=2), stateless(net)
    grads = torch.autograd.grad(f(params, support).square().mean(), list(params.values()), create_graph=True)
    fast = {key: value - 0.1 * grad for (key, value), grad in zip(params.items(), grads, strict=True)}
    plain = torch.autograd.grad(f(fast, query).square().mean(), list(params.values()))
    plain_values = {key: value.detach() for key, value in params.items()}
    expected = torch.func.grad(lambda p: query_loss(net, p, support, query))(plain_values)
    scale = max(value.abs().max() for value in expected.values())
    for got, value in zip(plain, expected.values(), strict=True):
        assert (got - value).abs().max() < 1e-9 * scale


def test_a_configuration_makes_each_architecture():
    kinds = {
        "conv4": Conv4,
        "resnet12": ResNet12,
        "wrn-28-10": WideResNet,
        "koch": Koch,
        "relation": RelationEncoder,
        "mlp": Perceptron,
        "identity": Identity,
    }
    assert set(kinds) == set(BACKBONES)
    for name, kind in kinds.items():
        with torch.device("meta"):
            assert type(backbone(Backbone(name=name), (1, 105, 105))) is kind
    stride = backbone(Backbone(channels=8, halve="stride", norm="group", activation="silu"), (3, 32, 32))
    assert stride.feature_size == 8
    assert not list(stride.buffers())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Conv4(norm="grup"), "did you mean 'group'"),
        (lambda: Conv4(halve="none"), "halve must be"),
        (lambda: Conv4((1, 15, 28)), "at least 16x16"),
        (lambda: Conv4(activation="relo"), "did you mean 'relu'"),
        (lambda: ResNet12(channels=32), "must be 64 .* or 80"),
        (lambda: ResNet12((3, 84, 12)), "at least 16x16"),
        (lambda: WideResNet(depth=27), r"6 n \+ 4"),
        (lambda: WideResNet((3, 2, 80)), "at least 4x4"),
        (lambda: Koch((1, 28, 28)), "65x65.*got 28x28.*conv4"),
        (lambda: RelationEncoder((1, 8, 8)), "at least 10x10"),
        (lambda: backbone(Backbone(name="conv5"), (1, 28, 28)), "did you mean 'conv4'"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_smallest_images_are_enough():
    for net, shape in (
        (Conv4((1, 16, 16), 2), (1, 16, 16)),
        (Koch((1, 65, 65), units=2), (1, 65, 65)),
        (RelationEncoder((1, 10, 10), 2), (1, 10, 10)),
        (WideResNet((1, 4, 4), 10, 1), (1, 4, 4)),
    ):
        assert net.maps(torch.randn(2, *shape)).shape[1:] == net.map_shape


def test_kochs_network_has_the_papers_layers():
    """105-10+1 = 96, halved 48; 48-7+1 = 42, 21; 21-4+1 = 18, 9; 9-4+1 = 6: 256 maps of 6x6, 9216 numbers."""
    with torch.device("meta"):
        net = backbone(Backbone("koch", norm="none"), (1, 105, 105))
        assert net.maps(torch.empty(2, 1, 105, 105)).shape == (2, 256, 6, 6)
    shapes = {name: tuple(value.shape) for name, value in net.named_parameters()}
    assert shapes == {
        "convs.0.weight": (64, 1, 10, 10),
        "convs.0.bias": (64,),
        "convs.1.weight": (128, 64, 7, 7),
        "convs.1.bias": (128,),
        "convs.2.weight": (128, 128, 4, 4),
        "convs.2.bias": (128,),
        "convs.3.weight": (256, 128, 4, 4),
        "convs.3.bias": (256,),
        "units.weight": (4096, 9216),
        "units.bias": (4096,),
    }


def test_kochs_network_equals_torchs_layers():
    sizes = ((1, 64, 10), (64, 128, 7), (128, 128, 4), (128, 256, 4))
    layers = [(nn.Conv2d(*each), nn.ReLU(), nn.MaxPool2d(2)) for each in sizes]
    convs = [each for block in layers for each in block][:-1]  # nothing is pooled after the last
    usual = nn.Sequential(*convs, nn.Flatten(), nn.Linear(256, 3), nn.Sigmoid()).to(D)
    ours = Koch((1, 65, 65), units=3).to(D)
    with torch.no_grad():
        for a, b in zip(ours.parameters(), usual.parameters(), strict=True):
            b.copy_(a)
    x = torch.rand(2, 1, 65, 65, dtype=D, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), usual(x), rtol=1e-9, atol=1e-12)


def test_conv4_equals_torchs_layers_with_parameters_in_the_same_order():
    layers = [
        (nn.Conv2d(n, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2))
        for n in (2, 5, 5, 5)
    ]
    usual = nn.Sequential(*(each for block in layers for each in block), nn.Flatten()).to(D)
    ours = Conv4((2, 20, 17), channels=5).to(D)
    with torch.no_grad():
        for seed, (a, b) in enumerate(zip(ours.parameters(), usual.parameters(), strict=True)):
            b.copy_(torch.randn(b.shape, dtype=D, generator=torch.Generator().manual_seed(seed)))
            a.copy_(b)
    x = torch.randn(4, 2, 20, 17, dtype=D, generator=torch.Generator().manual_seed(9))
    torch.testing.assert_close(ours(x), usual(x), rtol=1e-9, atol=1e-10)


def test_a_perceptron_by_hand():
    net = Perceptron((1,), units=2).to(D)
    with torch.no_grad():
        for each, values in zip(
            net.parameters(),
            ([[1.0], [-1.0]], [0.5, 0.0], [[1.0, 2.0], [0.0, 1.0]], [-1.0, 1.0]),
            strict=True,
        ):
            each.copy_(torch.tensor(values, dtype=D))
    assert net(torch.tensor([[2.0], [-3.0]], dtype=D)).tolist() == [[1.5, 1.0], [5.0, 4.0]]
    film = [None, (torch.tensor([2.0, 0.0], dtype=D), torch.tensor([0.0, 7.0], dtype=D))]
    assert net(torch.tensor([[2.0]], dtype=D), film=film).tolist() == [[3.0, 7.0]]
    assert (net.feature_size, net.map_shape, net.film_sizes) == (2, (2,), (2, 2))
    assert Perceptron((3, 4, 4), units=5)(torch.zeros(6, 3, 4, 4)).shape == (6, 5)
