import pytest
import torch
from torch import nn

from metarl.update_rules import SGD, AdamWithoutMomentum, LearnedSGD, adapted_names, clip_gradients, register

PARAMS = {
    "a.w": torch.tensor([1.0, 2.0]),
    "a.b": torch.tensor(3.0),
    "context.z": torch.zeros(2),
    "n": torch.tensor(1),
}
GRADS = {"a.w": torch.tensor([3.0, -4.0]), "a.b": torch.tensor(12.0)}


def test_adapted_names_by_pattern():
    assert adapted_names({**PARAMS, "rule.lr": torch.ones(1)}) == ("a.w", "a.b", "context.z")
    assert adapted_names(PARAMS, ("context.*",)) == ("context.z",)
    assert adapted_names(PARAMS, "a.*") == ("a.w", "a.b")


@pytest.mark.parametrize(
    ("adapted", "match"),
    [(("contxt.z",), "did you mean 'context.z'"), ((), "empty"), (("n",), "floating-point")],
)
def test_adapted_names_refuses(adapted, match):
    with pytest.raises(ValueError, match=match):
        adapted_names(PARAMS, adapted)
    with pytest.raises(ValueError, match=r"adapted pattern .* matches nothing"):
        adapted_names({**PARAMS, "rule.lr": torch.ones(1)}, ("rule.*",))


def test_sgd_by_hand():
    new = SGD(lr=0.5).update(PARAMS, GRADS)
    assert new["a.w"].tolist() == [-0.5, 4.0]
    assert new["a.b"].item() == -3.0
    assert SGD().init(PARAMS, 3) == {}


def test_tensors_have_the_size_of_the_first_pattern_that_fits():
    new = SGD(lr=0.5, lr_for={"a.w": 2.0, "a.*": 0.25}).update(PARAMS, GRADS)
    assert new["a.w"].tolist() == [-5.0, 10.0]
    assert new["a.b"].item() == 0.0
    assert SGD(lr=0.5, lr_for={"a.b": 2.0}).update(PARAMS, GRADS)["a.w"].tolist() == [-0.5, 4.0]
    found = LearnedSGD(0.5, per="parameter", lr_for={"a.w": 2.0}).init(PARAMS, 1, "a.*")
    assert found["rule.lr.a.w"].tolist() == [[2.0, 2.0]]
    assert found["rule.lr.a.b"].tolist() == [0.5]


def test_clipping_by_value_and_by_joint_norm():
    by_value = clip_gradients(GRADS, 3.5, "value")
    assert by_value["a.w"].tolist() == [3.0, -3.5]
    assert by_value["a.b"].item() == 3.5
    by_norm = clip_gradients(GRADS, 6.5, "norm")  # the joint norm is 13
    assert by_norm["a.w"].tolist() == [1.5, -2.0]
    assert by_norm["a.b"].item() == 6.0
    assert clip_gradients(GRADS, 13.5, "norm")["a.w"].tolist() == [3.0, -4.0]


def test_clipping_of_zero_gradients_has_a_finite_derivative():
    zero = torch.zeros(2, requires_grad=True)
    (grad,) = torch.autograd.grad(clip_gradients({"a": zero}, 1.0)["a"].sum(), zero)
    assert grad.tolist() == [1.0, 1.0]


def test_learned_sizes_have_the_shapes_of_the_table():
    def shapes(**kw):
        return {k: tuple(v.shape) for k, v in LearnedSGD(**kw).init(PARAMS, 3, "a.*").items()}

    assert shapes(per="step") == {"rule.lr": (3,)}
    assert shapes(per="tensor") == {"rule.lr.a.w": (3,), "rule.lr.a.b": (3,)}
    assert shapes(per="parameter") == {"rule.lr.a.w": (3, 2), "rule.lr.a.b": (3,)}
    assert shapes(per="parameter", shared_over_steps=True) == {"rule.lr.a.w": (1, 2), "rule.lr.a.b": (1,)}


def test_learned_sizes_by_hand_and_beyond_the_trained_steps():
    rule = LearnedSGD(per="tensor")
    params = {**PARAMS, "rule.lr.a.w": torch.tensor([1.0, 0.5]), "rule.lr.a.b": torch.tensor([0.0, 0.25])}
    assert rule.update(params, GRADS, 0)["a.w"].tolist() == [-2.0, 6.0]
    for step in (1, 2, 7):
        assert rule.update(params, GRADS, step)["a.w"].tolist() == [-0.5, 4.0]
        assert rule.update(params, GRADS, step)["a.b"].item() == 0.0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SGD(lr=0.0), "lr must"),
        (lambda: SGD(clip=-1.0), "clip must"),
        (lambda: SGD(clip=1.0, clip_by="size"), "clip_by"),
        (lambda: LearnedSGD(per="layer"), "per must"),
        (lambda: SGD().init(PARAMS, 0), "steps"),
        (lambda: SGD(lr_for={"a.*": 0.0}), r"lr_for must be above 0, got 0.0 for 'a\.\*'"),
        (
            lambda: SGD(lr_for={"a.v": 1.0}).init(PARAMS, 1),
            "'a.v' matches nothing: did you mean 'a",
        ),
        (lambda: LearnedSGD(lr_for={"b.*": 1.0}).init(PARAMS, 1), r"'b\.\*' matches nothing"),
        (lambda: LearnedSGD(per="step", lr_for={"a.*": 1.0}), "share one size"),
        (lambda: LearnedSGD().update(PARAMS, GRADS, 0), "rule.lr.a.w"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_what_a_rule_learns_becomes_parameters_of_a_module():
    module = nn.Module()
    module.a = nn.Linear(2, 1)
    learned = LearnedSGD(0.3, per="parameter").init(dict(module.named_parameters()), 2)
    register(module, learned)
    params = dict(module.named_parameters())
    assert list(params) == ["a.weight", "a.bias", "rule.lr.a.weight", "rule.lr.a.bias"]
    assert params["rule.lr.a.weight"].tolist() == [[[pytest.approx(0.3)] * 2]] * 2
    assert params["rule.lr.a.weight"].requires_grad
    assert params["rule.lr.a.weight"] is not learned["rule.lr.a.weight"]


def test_adam_without_momentum_is_torchs_and_remembers_in_the_params():
    rule = AdamWithoutMomentum(0.1, beta=0.9)
    params = {"x": torch.tensor([1.0, -2.0]), "y": torch.tensor(3.0)}
    theirs = {name: each.clone().requires_grad_() for name, each in params.items()}
    adam = torch.optim.Adam(theirs.values(), 0.1, betas=(0.0, 0.9))
    for _ in range(4):
        adam.zero_grad()
        ((theirs["x"] ** 4).sum() + theirs["y"] ** 2).backward()
        adam.step()
        params = {**params, **rule.update(params, {"x": 4 * params["x"] ** 3, "y": 2 * params["y"]})}
    for name, value in theirs.items():
        torch.testing.assert_close(params[name], value.detach())
    assert {name for name in params if name.startswith("rule.")} == {
        "rule.steps",
        "rule.square.x",
        "rule.square.y",
    }
    assert rule.init(params, 3) == {}


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"beta": 1.0}, {"eps": 0.0}])
def test_adam_without_momentum_refuses(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdamWithoutMomentum(**wrong)
