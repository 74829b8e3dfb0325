import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metarl.nn import (
    MLP,
    BatchNorm,
    ConvBlock,
    GroupNorm,
    LayerNorm,
    LSTMCell,
    MaxPool2d,
    conv2d,
    linear,
    low_precision,
    max_pool,
    refuse_fused_norms,
    stateless,
)

D = torch.float64


def images(*shape, seed=0):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BatchNorm(6), nn.BatchNorm2d(6, track_running_stats=False)),
        (GroupNorm(3, 6), nn.GroupNorm(3, 6)),
        (LayerNorm((6, 8, 8)), nn.LayerNorm((6, 8, 8))),
        (MaxPool2d(), nn.MaxPool2d(2)),
    ],
)
@pytest.mark.parametrize("transformed", [False, True])
def test_layers_equal_torchs_own_value_and_gradients(ours, theirs, transformed):
    ours, theirs = ours.to(D), theirs.to(D)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        a.data = b.data = images(*a.shape, seed=1)  # negative scales among them
    x = images(4, 6, 8, 8).requires_grad_()
    weights = images(*theirs(x).shape, seed=2)

    def of(module, x):
        return (module(x) * weights).sum()

    expected = torch.autograd.grad(of(theirs, x), [x, *theirs.parameters()])
    if transformed:
        by_x = torch.func.grad(lambda x: of(ours, x))(x.detach())
        torch.testing.assert_close(by_x, expected[0], rtol=1e-10, atol=1e-12)
    else:
        got = torch.autograd.grad(of(ours, x), [x, *ours.parameters()])
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_norm_then_pool_equals_pool_of_norm_for_scales_of_either_sign():
    norm = BatchNorm(5).to(D)
    norm.weight.data = torch.tensor([1.0, -2.0, 0.5, -0.1, 3.0], dtype=D)
    norm.bias.data = images(5, seed=3)
    x = images(3, 5, 7, 6).requires_grad_()
    together, apart = norm.then_max_pool(x), max_pool(norm(x))
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-12)
    weights = images(*apart.shape, seed=4)
    for a, b in zip(
        torch.autograd.grad((together * weights).sum(), [x, norm.weight, norm.bias]),
        torch.autograd.grad((apart * weights).sum(), [x, norm.weight, norm.bias]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("channels", "stride", "size"), [(1, 1, 6), (3, 1, 5), (3, 2, 7), (1, 2, 6), (2, 2, 6)]
)
def test_convolution_equals_torchs_and_passes_gradgradcheck(channels, stride, size):
    x, w, b = images(2, channels, size, size), images(4, channels, 3, 3, seed=1), images(4, seed=2)
    torch.testing.assert_close(
        conv2d(x, w, b, stride, 1), F.conv2d(x, w, b, stride, 1), rtol=1e-12, atol=1e-12
    )
    w.requires_grad_()
    x.requires_grad_(channels > 1)
    inputs = (x, w, b.requires_grad_())
    assert torch.autograd.gradcheck(lambda *a: conv2d(*a, stride, 1), inputs)
    assert torch.autograd.gradgradcheck(lambda *a: conv2d(*a, stride, 1), inputs)


def adapted_convolutions(convolve, shared, x, z, stride):
    """Loss on `z` after two inner steps on `x`, and gradients of it: of second order in the filters."""
    filters = images(4, x.shape[2], 3, 3, seed=1), 0.3 * images(4, 4, 3, 3, seed=2), images(4, seed=3)

    def loss(filters, x):
        first = convolve(x, filters[0], filters[2], stride, 1).tanh()
        return (convolve(first, filters[1], None, 1, 1) ** 3).mean()

    def task(filters, x, z):
        for _ in range(2):
            grads = torch.func.grad(loss)(filters, x)
            filters = tuple(each - 0.1 * grad for each, grad in zip(filters, grads, strict=True))
        return loss(filters, z)

    of = torch.func.grad_and_value(task, argnums=(0, 1))
    return torch.vmap(of, (None, None if shared else 0, 0))(filters, x[0] if shared else x, z)


@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize(
    ("channels", "stride", "size"), [(1, 1, 6), (3, 1, 5), (3, 2, 7), (1, 2, 6), (2, 2, 6)]
)
def test_adapted_filters_under_vmap_have_the_derivatives_of_torchs_convolution(
    channels, stride, size, shared
):
    x, z = images(3, 2, channels, size, size), images(3, 4, channels, size, size, seed=5)
    found = adapted_convolutions(conv2d, shared, x, z, stride)
    expected = adapted_convolutions(F.conv2d, shared, x, z, stride)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def convolution_and_gradients(x, w, b):
    w, b = w.clone().requires_grad_(), b.clone().requires_grad_()
    y = conv2d(x, w, b, 1, 1)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), [w, b])]


def test_low_precision_multiplies_rounded_numbers_and_gives_float32():
    x, w, b = images(3, 8, 6, 6).float(), images(4, 8, 3, 3, seed=1).float(), images(4, seed=2).float()
    exact = convolution_and_gradients(x, w, b)
    with low_precision():
        low = convolution_and_gradients(x, w, b)
        with low_precision(False):
            assert all(map(torch.equal, convolution_and_gradients(x, w, b), exact))
    assert all(map(torch.equal, convolution_and_gradients(x, w, b), exact))
    rounded = F.conv2d(x.bfloat16().float(), w.bfloat16().float(), None, padding=1) + b.view(-1, 1, 1)
    torch.testing.assert_close(low[0], rounded, rtol=2**-8, atol=2**-8)  # bfloat16 has 8 bits
    for value, wanted in zip(low, exact, strict=True):
        assert value.dtype == torch.float32
        assert not torch.equal(value, wanted)
        assert (value - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.parametrize(("kind", "channels"), [(torch.float64, 8), (torch.float32, 1)])
def test_low_precision_leaves_float64_and_single_channels_alone(kind, channels):
    x, w, b = images(2, channels, 5, 5).to(kind), images(4, channels, 3, 3).to(kind), images(4).to(kind)
    exact = convolution_and_gradients(x, w, b)
    with low_precision():
        assert all(map(torch.equal, convolution_and_gradients(x, w, b), exact))


def test_low_precision_is_the_same_under_vmap():
    x, w = images(3, 2, 8, 5, 5).float(), images(4, 8, 3, 3, seed=1).float()
    with low_precision():
        together = torch.vmap(lambda each: conv2d(each, w, None, 1, 1))(x)
        torch.testing.assert_close(
            together, torch.stack([conv2d(each, w, None, 1, 1) for each in x]), rtol=2**-7, atol=2**-7
        )


@pytest.mark.parametrize(
    "of",
    [
        lambda x, s, b: max_pool(x) * s.view(-1, 1, 1),
        lambda x, s, b: functional_call(BatchNorm(3).to(D), {"weight": s, "bias": b}, (x,)),
        lambda x, s, b: functional_call(GroupNorm(3, 3).to(D), {"weight": s, "bias": b}, (x,)),
        lambda x, s, b: _then_pool(x, s, b),
    ],
    ids=["pool", "batch", "group", "batch-pool"],
)
def test_layers_pass_gradgradcheck(of):
    inputs = [v.requires_grad_() for v in (images(2, 3, 4, 5), images(3, seed=1), images(3, seed=2))]
    assert torch.autograd.gradcheck(of, inputs)
    assert torch.autograd.gradgradcheck(of, inputs)


def _then_pool(x, weight, bias):
    norm = BatchNorm(3).to(D)
    del norm.weight, norm.bias
    norm.weight, norm.bias = weight, bias
    return norm.then_max_pool(x)


def test_third_derivative_of_batch_norm_and_pool_equals_that_of_primitive_operations():
    x = images(2, 3, 4, 4).requires_grad_()
    s, b = images(3, seed=1).requires_grad_(), images(3, seed=2)

    def primitive(x):
        centred = x - x.mean((0, 2, 3), keepdim=True)
        x = centred * (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).rsqrt()
        return F.max_pool2d(x * s.view(-1, 1, 1) + b.view(-1, 1, 1), 2)

    results = []
    for of in (lambda x: _then_pool(x, s, b), primitive):
        value = of(x).pow(3).sum()
        for order in range(3):
            (grad,) = torch.autograd.grad(value, x, create_graph=True)
            value = (grad * images(*x.shape, seed=10 + order)).sum()
        results.append(value)
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_pooling_takes_the_largest_and_drops_an_odd_edge():
    x = torch.tensor([[[[1.0, 2.0, 9.0], [3.0, 0.0, 9.0], [9.0, 9.0, 9.0]]]])
    assert max_pool(x).tolist() == [[[[3.0]]]]
    with pytest.raises(ValueError, match="at least 2x2"):
        max_pool(torch.zeros(1, 1, 1, 4))


@pytest.mark.parametrize("halve", ["pool", "stride", "none"])
@pytest.mark.parametrize("act", ["relu", "silu", "tanh"])
@pytest.mark.parametrize("norm", ["batch", "layer", "group", "none"])
def test_conv_block_equals_its_parts_in_order(norm, act, halve):
    block = ConvBlock(2, 4, norm=norm, halve=halve, act=act).to(D)
    x = images(3, 2, 6, 6)
    y = block.act(block.norm(block.conv(x)))
    expected = F.max_pool2d(y, 2) if halve == "pool" else y
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-10)


def test_perceptron_with_task_axes_equals_one_task_at_a_time():
    net = MLP((3, 8, 8, 2)).to(D)
    params = {name: images(5, *value.shape, seed=i) for i, (name, value) in enumerate(net.named_parameters())}
    x = images(5, 7, 3, seed=9)
    together = functional_call(net, params, (x,))
    for t in range(5):
        one = {name: value[t] for name, value in params.items()}
        torch.testing.assert_close(together[t], functional_call(net, one, (x[t],)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.vmap(stateless(net))(params, x), together, rtol=1e-12, atol=1e-12)


def test_linear_broadcasts_over_further_axes():
    x, w, b = images(2, 1, 4, 3), images(2, 5, 6, 3, seed=1), images(2, 5, 6, seed=2)
    expected = torch.einsum("tubi,tuoi->tubo", x.expand(2, 5, 4, 3), w) + b.unsqueeze(-2)
    torch.testing.assert_close(linear(x, w, b), expected)
    with pytest.raises(ValueError, match="task axes"):
        linear(x[0, 0, 0], w, b)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MLP((3,)), "sizes"),
        (lambda: MLP((3, 2), activation="tahn"), "did you mean 'tanh'"),
        (lambda: ConvBlock(1, 2, norm="batsch"), "did you mean 'batch'"),
        (lambda: ConvBlock(1, 2, halve="strid"), "did you mean 'stride'"),
        (lambda: GroupNorm(4, 6), "multiple of groups"),
        (lambda: BatchNorm(3)(torch.zeros(2, 4)), "expected shape"),
        (lambda: LayerNorm(3)(torch.zeros(2, 4)), "layer norm over"),
        (
            lambda: stateless(MLP((2, 2)))({"layers.0.wieght": torch.zeros(2, 2)}, torch.zeros(2)),
            "did you mean",
        ),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_lstm_cell_equals_torchs_own():
    ours, theirs = LSTMCell(3, 4).to(D), nn.LSTMCell(3, 4).to(D)
    theirs.weight_ih, theirs.weight_hh = ours.weight_ih, ours.weight_hh
    ours.bias.data = images(16)
    theirs.bias_ih.data, theirs.bias_hh.data = ours.bias.data, torch.zeros(16, dtype=D)
    state = None
    for t in range(3):
        x = images(5, 3, seed=t)
        expected = theirs(x, state)
        state = ours(x, state)
        torch.testing.assert_close(state, expected, rtol=1e-12, atol=1e-12)


def test_fused_norms_are_named_with_their_replacement():
    for fused, name in ((nn.BatchNorm2d(2), "BatchNorm"), (nn.LayerNorm(2), "LayerNorm")):
        with pytest.raises(ValueError, match=rf"'1'.*{name}.*metarl.nn.{name}"):
            refuse_fused_norms(nn.Sequential(nn.Conv2d(1, 2, 3), fused))
    with pytest.raises(ValueError, match=r"metarl\.nn\.GroupNorm"):
        refuse_fused_norms(nn.InstanceNorm2d(2))
    refuse_fused_norms(
        nn.Sequential(nn.BatchNorm2d(2).eval(), nn.GroupNorm(1, 2), BatchNorm(2), LayerNorm(2))
    )


def test_stateless_shares_tensors_and_ignores_other_prefixes():
    net = MLP((2, 2))
    f, x = stateless(net, "net."), torch.ones(1, 2)
    torch.testing.assert_close(f({"other.w": x, "rule.lr": x}, x), net(x))
    before = net(x)
    with torch.no_grad():
        net.layers[0].bias += 1
    torch.testing.assert_close(f({}, x), before + 1)
    zero = {f"net.{name}": torch.zeros_like(value) for name, value in net.named_parameters()}
    assert not f(zero, x).any()
    torch.testing.assert_close(copy.deepcopy(net)(x), before + 1)


def test_stateless_follows_train_and_eval_and_ties():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    f, x = stateless(net.eval()), torch.ones(4, 3)
    torch.testing.assert_close(f({}, x), net(x))
    tied = f({"0.weight": torch.zeros(3, 3)}, x)
    torch.testing.assert_close(tied, net[2].bias.expand(4, 3))
    net.train()
    assert (f({"2.bias": torch.zeros(3)}, torch.ones(100, 3)).std(0) > 0).all()
    assert f({}, x).requires_grad
    assert all(isinstance(p, nn.Parameter) for p in net.parameters())
