"""The outer objective of gradient-based meta-policies, term by term, against numpy and torch.distributions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence
from torch.func import functional_call

from metarl.agents import preset
from metarl.agents.meta_policy_gradient import MetaPolicyGradientTraining
from metarl.agents.policy_adaptation import policy_params
from metarl.agents.rollouts import Trajectories

POINT = "metarl/PointNavigation-v0"
SMALL = {"tasks": 2, "trajectories": 3, "horizon": 5, "unit": "task"}


def training(agent, world=POINT, **changes):
    config = preset(agent)
    parts = {"policy": {"hidden": (4,)}, "sampling": {}, **changes}
    parts["sampling"] = SMALL | parts["sampling"]
    parts = {name: replace(getattr(config, name), **fields) for name, fields in parts.items()}
    torch.manual_seed(0)
    return MetaPolicyGradientTraining(world, replace(config, **parts))


def collected_and_moved(algorithm):
    """A batch whose middle trajectories end after 3 steps, and parameters that have moved since."""
    data = algorithm.collect(np.random.default_rng(0)).data
    for stage in (*data["support"], data["query"]):
        stage["mask"][:, 1, 3:] = 0
        stage["advantages"] *= stage["mask"]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in algorithm.module.policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return data


def loss_with(algorithm, data, **outer):
    algorithm.config = replace(algorithm.config, outer=replace(algorithm.config.outer, **outer))
    return algorithm.loss(data)[0].item()


def one_by_one(algorithm, data):
    """For each task pairs of the policy and the data it is judged on: before and after each inner step."""
    for task in range(len(data["query"]["mask"])):
        params, pairs = dict(algorithm.module.named_parameters()), []
        stages = [{name: x[task] for name, x in each.items()} for each in (*data["support"], data["query"])]
        for step, stage in enumerate(stages):
            mean, log_std = functional_call(algorithm.module.policy, policy_params(params), (stage["obs"],))
            pairs.append((Independent(Normal(mean.detach(), log_std.detach().exp()), 1), stage))
            if step < len(data["support"]):
                params = algorithm.adaptation.step(params, stage, step)
        yield pairs


def mean_while_it_runs(x, stage):
    return x.numpy()[stage["mask"].numpy() > 0].mean()


def ratio_and_advantages(policy, stage):
    sampled = Independent(Normal(stage["mean"], stage["log_std"].exp()), 1)
    runs = stage["mask"].numpy() > 0
    log_ratio = (policy.log_prob(stage["actions"]) - sampled.log_prob(stage["actions"])).numpy()
    return np.exp(log_ratio[runs]), stage["advantages"].numpy()[runs]


def test_score_weights_are_returns_less_the_other_tasks_mean_per_step_and_unit_of_advantage():
    algorithm = training("e-maml", sampling={"tasks": 3})
    returns, mask = torch.full((3, 2, 12), 50.0), torch.ones(3, 2, 12)
    returns[:, :, 0] = torch.tensor(
        [[0.0, 2.0], [2.0, 2.0], [4.0, 8.0]]
    )  # 1, 2 and 6; of the others 4, 3.5, 1.5
    mask[:, 0, 8:] = 0  # 8 and 12 steps, 10 on average
    query = {"returns": returns, "mask": mask, "advantage_scale": torch.tensor([2.0, 1.0, 0.5])}
    torch.testing.assert_close(algorithm._score_weights(query), torch.tensor([-0.15, -0.15, 0.9]))
    query["advantage_scale"] = torch.tensor([2.0, 1e-8, 1.0])  # no advantages in one task: the mean is 1
    torch.testing.assert_close(algorithm._score_weights(query), torch.tensor([-0.15, -0.15, 0.45]))
    query["advantage_scale"] = torch.full((3,), 1e-8)
    assert algorithm._score_weights(query).tolist() == [0, 0, 0]


def test_the_divergence_of_every_inner_step_is_a_penalty():
    algorithm = training("promp", inner={"steps": 2})
    data = collected_and_moved(algorithm)
    penalty = loss_with(algorithm, data, inner_kl=1.0) - loss_with(algorithm, data, inner_kl=0.0)
    expected = []
    for *supports, _ in one_by_one(algorithm, data):
        expected.append(0.0)
        for policy, stage in supports:
            sampled = Independent(Normal(stage["mean"], stage["log_std"].exp()), 1)
            expected[-1] += mean_while_it_runs(kl_divergence(sampled, policy), stage)
    assert penalty > 0.01
    np.testing.assert_allclose(penalty, np.mean(expected), rtol=1e-4)


@pytest.mark.parametrize("agent", ["maml", "promp"])
def test_the_adapted_policys_entropy_is_a_bonus(agent):
    algorithm = training(agent)
    data = collected_and_moved(algorithm)
    bonus = loss_with(algorithm, data, entropy=0.0) - loss_with(algorithm, data, entropy=1.0)
    last = [pairs[-1] for pairs in one_by_one(algorithm, data)]
    expected = np.mean([mean_while_it_runs(policy.entropy(), stage) for policy, stage in last])
    np.testing.assert_allclose(bonus, expected, rtol=1e-4)


def test_the_return_before_adaptation_counts_as_a_clipped_surrogate_of_its_own():
    algorithm = training("promp", inner={"steps": 2})
    data = collected_and_moved(algorithm)
    credit = loss_with(algorithm, data, before=0.0) - loss_with(algorithm, data, before=1.0)
    expected = []
    for pairs in one_by_one(algorithm, data):
        ratio, advantages = ratio_and_advantages(*pairs[0])
        clipped = np.minimum(ratio * advantages, np.clip(ratio, 0.7, 1.3) * advantages)
        assert (clipped != ratio * advantages).any()
        expected.append(clipped.mean())
    assert abs(credit) > 0.01
    np.testing.assert_allclose(credit, np.mean(expected), rtol=1e-4)


@pytest.mark.parametrize("agent", ["maml", "fomaml"])
def test_the_trust_region_agents_raise_the_ratio_times_the_advantage_of_the_adapted_policy(agent):
    algorithm = training(agent)
    data = collected_and_moved(algorithm)
    loss, metrics = algorithm.loss(data)
    products = [
        np.mean(np.prod(ratio_and_advantages(*pairs[-1]), axis=0)) for pairs in one_by_one(algorithm, data)
    ]
    assert abs(np.mean(products)) > 0.01
    np.testing.assert_allclose(metrics["train/policy_loss"].item(), -np.mean(products), rtol=1e-4)
    np.testing.assert_allclose(loss.item(), -np.mean(products), rtol=1e-4)


def silent_values(algorithm):
    """A value network that says 0, and what its numbers are multiples of."""
    with torch.no_grad():
        for parameter in algorithm.module.value.network.layers[-1].parameters():
            parameter.zero_()
    return algorithm.module.value.unit


def test_the_value_loss_is_the_mean_over_all_stages():
    algorithm = training(
        "promp", sampling={"baseline": "network"}, inner={"steps": 2}, outer={"inner_kl": 0.0}
    )
    data = algorithm.collect(np.random.default_rng(0)).data
    unit = silent_values(algorithm)
    for units, stage in zip((1, 2, 4), (*data["support"], data["query"]), strict=True):
        stage["returns"].fill_(units * unit)  # squared errors of 1, 4 and 16
    loss, metrics = algorithm.loss(data)
    assert metrics["train/value_loss"].item() == pytest.approx(7.0)
    assert (loss - metrics["train/policy_loss"]).item() == pytest.approx(7.0)


@pytest.mark.parametrize("agent", ["maml", "promp"])
def test_the_divergence_is_of_the_adapted_policy_from_the_one_that_sampled(agent):
    algorithm = training(agent)
    data = algorithm.collect(np.random.default_rng(0)).data
    data["support"][0]["advantages"].zero_()  # so that nothing is adapted
    with torch.no_grad():
        for parameter in algorithm.module.policy.parameters():
            parameter.zero_()
        algorithm.module.policy.log_std.fill_(np.log(2))
    data["query"]["mean"].zero_()
    data["query"]["log_std"].zero_()
    in_both_actions = 2 * (
        np.log(2) + 1 / 8 - 1 / 2
    )  # KL(N(0, 1) || N(0, 4)), 0.3181 for each; the other way 0.8069
    assert algorithm.loss(data)[1]["kl"].item() == pytest.approx(in_both_actions, rel=1e-5)


def test_steps_after_an_episodes_end_are_not_among_the_observations_statistics():
    algorithm = training("promp")
    raw_obs = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 9.0], [100.0, -100.0]]]], dtype=torch.float64)
    mask = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    nothing = torch.zeros(1, 2, 2, 2)
    raw = Trajectories(raw_obs, nothing, nothing, torch.zeros(1, 2, 2), mask, nothing, nothing)
    algorithm._update_normalizer([raw, raw])
    assert algorithm.module.normalizer.count == 6
    mean, std = algorithm.module.normalizer.scale()
    assert mean.tolist() == [3.0, 5.0]
    np.testing.assert_allclose(std, np.sqrt([8 / 3, 26 / 3]))


def test_first_episodes_of_lifetimes_count_beside_the_rest():
    algorithm = training(
        "continuous-adaptation",
        "metarl/HexapodLegFailure-v0",
        policy={"hidden": (4,), "context_size": 2},
        sampling={"unit": "lifetime", "trajectories": 1},
        inner={"estimator": "lvc", "steps": 2},
        outer={"score_terms": False, "minibatches": 1},
    )
    data = algorithm.collect(np.random.default_rng(0)).data
    unit = silent_values(algorithm)
    for stage in (data["first"], data["rest"]["query"], *data["rest"]["support"]):
        stage["advantages"].zero_()
        stage["returns"].zero_()
    data["first"]["returns"].fill_(3 * unit)  # an error of 9
    data["rest"]["query"]["returns"].fill_(3 * unit)  # of 9, beside two of 0 before adaptation
    loss, metrics = algorithm.loss(data)
    assert loss.item() == pytest.approx((2 * 9 + 12 * 3) / 14)
    assert metrics["train/value_loss"].item() == pytest.approx((2 * 9 + 12 * 3) / 14)


def test_the_gain_is_the_last_return_less_the_first(monkeypatch):
    algorithm = training("promp")
    returns = np.array([[0.0, 1.0, 3.0], [2.0, 1.0, 5.0]])
    monkeypatch.setattr(algorithm, "returns_after_adapting", lambda *_: returns)
    metrics = algorithm.evaluate(np.random.default_rng(0))
    assert metrics == {"eval/return_0": 1.0, "eval/return_1": 1.0, "eval/return_2": 4.0, "eval/gain": 3.0}


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("inner", {"adapted": "context"}),
        ("inner", {"step_sizes": "tensor"}),
        ("outer", {"score_terms": True}),
        ("outer", {"entropy": 0.1}),
    ],
)
def test_what_reptile_would_ignore_is_refused(part, changes):
    config = replace(preset("reptile"), policy=replace(preset("reptile").policy, context_size=2))
    ((name, _),) = changes.items()
    with pytest.raises(ValueError, match=f"{part}.{name}=.* with outer.step='reptile', expected"):
        replace(config, **{part: replace(getattr(config, part), **changes)})
