"""What batch norm normalises by: all rows, the support's, or recorded averages."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metarl.nn import BatchNorm, ConvBlock, max_pool, norm_layer, normalise, recorded_moments, stateless
from metarl.nn.batch_normalisation import normalised
from metarl.tasks import over_tasks

D = torch.float64
KINDS = ["batch", "support", "running"]


def images(*shape, seed=0):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


def norm_with_averages():
    """Four channels with scales of both signs, and averages that are not those of the data."""
    norm = BatchNorm(4).to(D)
    norm.weight.data, norm.bias.data = torch.tensor([1.5, -0.5, -2.0, 0.75], dtype=D), images(4, seed=2)
    norm.running_mean.copy_(images(4, seed=3))
    norm.running_var.copy_(images(4, seed=4).square() + 0.5)
    norm.recorded.fill_(1)
    return norm


def primitive(norm, x, statistics, support):
    """The definition, row by row of code."""
    rows = x[:support] if statistics == "support" else x
    dims = (0, *range(2, x.dim()))
    mean, variance = rows.mean(dims), rows.var(dims, correction=0)
    if statistics == "running":
        mean, variance = norm.running_mean, norm.running_var
    shape = (-1, *(1,) * (x.dim() - 2))
    x = (x - mean.view(shape)) / (variance.view(shape) + norm.eps).sqrt()
    return x * norm.weight.view(shape) + norm.bias.view(shape)


def derivatives(of, x):
    """Value, gradient and a second derivative."""
    y = of(x)
    (first,) = torch.autograd.grad((y.tanh() * images(*y.shape, seed=7)).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first * images(*x.shape, seed=8)).sum(), x)
    return y, first, second


@pytest.mark.parametrize("statistics", KINDS)
@pytest.mark.parametrize("pooled", [False, True])
def test_the_fast_path_equals_the_definition_to_second_order(statistics, pooled):
    norm, x = norm_with_averages(), images(6, 4, 5, 4).requires_grad_()
    ours = norm.then_max_pool if pooled else norm
    pool = (lambda y: F.max_pool2d(y, 2)) if pooled else (lambda y: y)
    got = derivatives(lambda x: ours(x, statistics, 4), x)
    expected = derivatives(lambda x: pool(primitive(norm, x, statistics, 4)), x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("statistics", KINDS)
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (6, 4, 5, 4)])
def test_every_shape_and_vmap_equal_the_definition(statistics, shape):
    norm, x = norm_with_averages(), images(3, *shape)
    expected = torch.stack([primitive(norm, each, statistics, 2) for each in x])
    by_vmap = torch.vmap(lambda x: norm(x, statistics, 2))(x)
    torch.testing.assert_close(by_vmap, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm(x[1], statistics, 2), expected[1], rtol=1e-10, atol=1e-12)
    if len(shape) == 4:
        pooled = torch.vmap(lambda x: norm.then_max_pool(x, statistics, 2))(x)
        torch.testing.assert_close(pooled[2], max_pool(expected[2]), rtol=1e-10, atol=1e-12)


def test_the_support_is_normalised_as_if_it_were_alone():
    norm, x = norm_with_averages(), images(6, 4, 5, 4)
    torch.testing.assert_close(norm(x, "support", 4)[:4], norm(x[:4]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm(x, "support", 6), norm(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(norm(x, "support", 4)[4:], norm(x)[4:], rtol=1e-3)


def by_primitives(x, weight, bias, eps):
    """The definition, in the order of `normalised`'s arguments."""
    dims, shape = (0, *range(2, x.dim())), (-1, *(1,) * (x.dim() - 2))
    variance, mean = torch.var_mean(x, dims, correction=0)
    x = (x - mean.view(shape)) / (variance.view(shape) + eps).sqrt()
    return x * weight.view(shape) + bias.view(shape)


SHAPES = pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (5, 4, 3, 2)])


@SHAPES
def test_normalising_passes_gradgradcheck_and_has_the_third_derivative(shape):
    inputs = [each.requires_grad_() for each in (images(*shape), images(4, seed=1), images(4, seed=2))]
    assert torch.autograd.gradcheck(lambda *each: normalised(*each, 0.1), inputs)
    assert torch.autograd.gradgradcheck(lambda *each: normalised(*each, 0.1), inputs)

    def third(of):
        value = of(*inputs, 0.1).pow(4).sum()
        for power, place in ((3, 0), (2, 1)):
            (first,) = torch.autograd.grad(value, inputs[place], create_graph=True)
            value = first.pow(power).sum()
        return torch.autograd.grad(value, inputs)

    for found, expected in zip(third(normalised), third(by_primitives), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@SHAPES
def test_adapted_scales_and_shifts_under_vmap_have_the_derivatives_of_the_definition(shape):
    """Two inner steps on a task's images, and the loss on others."""

    def gradients(of):
        def loss(params, x):
            return (of(x * params[2].view(-1, *(1,) * (x.dim() - 2)), *params[:2], 0.1) ** 3).mean()

        def task(params, x, z):
            for _ in range(2):
                steps = torch.func.grad(loss)(params, x)
                params = tuple(each - 0.1 * step for each, step in zip(params, steps, strict=True))
            return loss(params, z)

        params = images(4, seed=1), images(4, seed=2), images(4, seed=3)
        x, z = images(3, *shape), images(3, *shape, seed=5)
        return torch.vmap(torch.func.grad_and_value(task, argnums=(0, 1)), (None, 0, 0))(params, x, z)

    torch.testing.assert_close(gradients(normalised), gradients(by_primitives), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_a_transform_is_what_it_is_outside(affine):
    norm, x = BatchNorm(4, affine=affine).to(D), images(6, 4, 5, 4)
    of = torch.func.grad_and_value(lambda x: (norm(x) ** 3 * images(6, 4, 5, 4, seed=9)).sum())
    gradient, value = of(x)
    x.requires_grad_()
    outside = (norm(x) ** 3 * images(6, 4, 5, 4, seed=9)).sum()
    torch.testing.assert_close(value, outside.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(outside, x)[0])


@pytest.mark.parametrize("how", ["plain", "pooled", "general"])
def test_recorded_averages_are_the_means_of_the_batches_moments(how):
    norm = norm_with_averages()
    batches = [images(5, 4, 4, 4, seed=seed) * (1 + seed) + seed for seed in range(3)]
    if how == "general":
        batches = [each.flatten(2) for each in batches]
    with recorded_moments(norm):
        for each in batches:
            norm.then_max_pool(each) if how == "pooled" else norm(each)
    dims = (0, *range(2, batches[0].dim()))
    mean = sum(each.mean(dims) for each in batches) / 3
    variance = sum(each.var(dims, correction=0) for each in batches) / 3
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-10, atol=1e-12)
    assert norm.recorded == 3


def test_the_averages_of_one_batch_give_its_own_output():
    net, x = nn.ModuleList([ConvBlock(2, 4), ConvBlock(4, 3, halve="none")]).to(D), images(5, 2, 8, 8)

    def through(statistics):
        return net[1](net[0](x, statistics), statistics)

    with recorded_moments(net):
        expected = through("batch")
    torch.testing.assert_close(through("running"), expected, rtol=1e-9, atol=1e-10)


def test_an_ordinary_forward_writes_no_state_and_an_error_leaves_it_alone():
    norm = norm_with_averages()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    for statistics in KINDS:
        norm.train()(images(6, 4, 5, 4), statistics, 2)
    with pytest.raises(ValueError, match="expected shape"), recorded_moments(norm):
        norm(norm(images(6, 4, 5, 4))[:, :3])
    norm(images(6, 4, 5, 4))
    with recorded_moments(norm):
        pass  # no batch came
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)


def test_copies_in_threads_record_for_their_module_and_other_modules_do_not():
    norm, other, x = BatchNorm(4).to(D), BatchNorm(4).to(D), images(2, 6, 4, 3, 3)
    f, threads = stateless(norm), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with recorded_moments(norm), torch.no_grad():
            over_tasks(lambda params, x: f(params, x).sum(), how="threads")(dict(norm.named_parameters()), x)
            other(x[0]), copy.deepcopy(norm)(x[0])
    finally:
        torch.set_num_threads(threads)
    assert (norm.recorded, other.recorded) == (2, 0)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 1, 3, 4)), rtol=1e-10, atol=1e-12)


def test_averages_travel_with_the_state_and_with_a_functional_call():
    norm, fresh, x = norm_with_averages(), BatchNorm(4).to(D), images(6, 4, 5, 4)
    swapped = functional_call(fresh, dict(norm.state_dict()), (x, "running"))
    torch.testing.assert_close(swapped, norm(x, "running"))
    with pytest.raises(ValueError, match="no averages yet"):
        fresh(x, "running")
    fresh.load_state_dict(norm.state_dict())
    torch.testing.assert_close(fresh(x, "running"), norm(x, "running"))


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (12, 4), (7, 1)])
def test_group_norm_by_name_has_eight_groups_or_as_many_as_divide_the_channels(channels, groups):
    x = images(3, channels, 2, 2)
    torch.testing.assert_close(norm_layer("group", channels).to(D)(x), F.group_norm(x, groups))


def test_only_batch_norm_heeds_the_statistics():
    x = images(6, 4, 5, 4)
    torch.testing.assert_close(normalise(nn.Identity(), x, "running"), x)
    torch.testing.assert_close(
        normalise(norm_with_averages(), x, "support", 2)[:2], norm_with_averages()(x[:2])
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: BatchNorm(4)(torch.zeros(2, 4), "runing"), "did you mean 'running'"),
        (lambda: BatchNorm(4)(torch.zeros(2, 4), "running"), "no averages yet.*recorded_moments"),
        (lambda: BatchNorm(4)(torch.zeros(2, 4), "support"), "needs 1 to 2 support rows, got 0"),
        (
            lambda: BatchNorm(4).then_max_pool(torch.zeros(2, 4, 2, 2), "support", 3),
            "1 to 2 support rows, got 3",
        ),
        (lambda: recorded_under_vmap(), "outside torch.func"),
    ],
)
def test_mistakes_are_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def recorded_under_vmap():
    norm = BatchNorm(4)
    with recorded_moments(norm):
        torch.vmap(norm)(torch.zeros(2, 3, 4))
