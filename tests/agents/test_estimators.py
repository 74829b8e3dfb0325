"""Estimators against hand-computed numbers and against exact enumeration of a two-step decision problem."""

import itertools

import pytest
import torch

from metarl.adaptation import adapt_step
from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig
from metarl.agents.estimators import (
    clipped_surrogate,
    generalized_advantages,
    returns_to_go,
    score_term,
    standardize,
    surrogate,
)
from metarl.update_rules import SGD

STEP_SIZE = 0.7


def test_returns_to_go_by_hand():
    rewards = torch.tensor([1.0, 2.0, 4.0])
    assert returns_to_go(rewards, torch.ones(3), 0.5).tolist() == [1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4]
    assert returns_to_go(rewards, torch.tensor([1.0, 1.0, 0.0]), 0.5).tolist() == [2.0, 2.0, 0.0]


def test_generalized_advantages_by_hand():
    rewards, values = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.5, 1.0, 1.5])
    # deltas with discount 0.9: 1 + 0.9 * 1 - 0.5 = 1.4; 0 + 0.9 * 1.5 - 1 = 0.35; 2 + 0 - 1.5 = 0.5
    # lambda 0.5, factor 0.45: 0.5; 0.35 + 0.45 * 0.5 = 0.575; 1.4 + 0.45 * 0.575 = 1.65875
    got = generalized_advantages(rewards, values, torch.ones(3), 0.9, 0.5)
    torch.testing.assert_close(got, torch.tensor([1.65875, 0.575, 0.5]))


def test_generalized_advantages_stop_at_the_end_of_an_episode():
    rewards, values = torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.5, 1.0, 7.0])
    got = generalized_advantages(rewards, values, torch.tensor([1.0, 1.0, 0.0]), 0.9, 1.0)
    torch.testing.assert_close(got, torch.tensor([1 + 0.9 * 2 - 0.5, 2 - 1.0, 0.0]))


def test_standardize_counts_only_what_is_unmasked():
    x = torch.tensor([[1.0, 3.0, 100.0]])
    result, std = standardize(x, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(result, torch.tensor([[-1.0, 1.0, 0.0]]))
    torch.testing.assert_close(std, torch.tensor(1.0))


def test_clipped_surrogate_by_hand():
    log_ratio = torch.tensor([[1.5, 1.5, 0.5]]).log()
    advantages = torch.tensor([[1.0, -1.0, -1.0]])
    got = clipped_surrogate(log_ratio, torch.zeros(1, 3), advantages, torch.ones(1, 3), clip=0.2)
    torch.testing.assert_close(got, torch.tensor((1.2 - 1.5 - 0.8) / 3))


class TwoSteps:
    """Start in state 0; action a leads to state 1 + a; a second action ends the episode. Rewards by state and action."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.rewards = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        self.theta = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        pairs = list(itertools.product(range(2), range(2)))
        self.states = torch.tensor([[0, 1 + first] for first, _ in pairs])
        self.actions = torch.tensor(pairs)
        self.rewards_BH = self.rewards[self.states, self.actions]

    def log_probs(self, theta):
        return theta.log_softmax(-1)[self.states, self.actions]

    def probabilities(self, theta):
        return self.log_probs(theta).sum(-1).exp()

    def expected_return(self, theta):
        return (self.probabilities(theta) * self.rewards_BH.sum(-1)).sum()

    def surrogate(self, theta, kind, weights, sampled=None):
        """Every trajectory's surrogate, weighted: with its probabilities, an infinitely large batch."""
        sampled = self.log_probs(theta).detach() if sampled is None else sampled
        advantages = returns_to_go(self.rewards_BH, torch.ones(4, 2), 1.0)
        log_probs = self.log_probs(theta)
        each = [
            2
            * surrogate(
                log_probs[i : i + 1], sampled[i : i + 1], advantages[i : i + 1], torch.ones(1, 2), kind
            )
            for i in range(4)
        ]
        return (torch.stack(each) * weights).sum()

    def adapted(self, theta, kind, weights):
        sampled = self.log_probs(theta).detach()
        loss = lambda params, _: -self.surrogate(params["policy"], kind, weights, sampled)  # noqa: E731
        return adapt_step({"policy": theta}, loss, None, rule=SGD(lr=STEP_SIZE))[0]["policy"]


@pytest.fixture
def problem():
    return TwoSteps()


def relative_error(got, want):
    return ((got - want).norm() / want.norm()).item()


@pytest.mark.parametrize("kind", ["dice", "lvc", "log_prob"])
def test_every_surrogate_has_the_right_first_derivative(problem, kind):
    theta = problem.theta.requires_grad_()
    want = torch.autograd.grad(problem.expected_return(theta), theta)[0]
    weights = problem.probabilities(theta).detach()
    got = torch.autograd.grad(problem.surrogate(theta, kind, weights), theta)[0]
    assert relative_error(got, want) < 1e-12


@pytest.mark.parametrize(("kind", "exact"), [("dice", True), ("lvc", False), ("log_prob", False)])
def test_only_dice_has_the_right_second_derivative(problem, kind, exact):
    want = torch.autograd.functional.hessian(problem.expected_return, problem.theta)
    weights = problem.probabilities(problem.theta)
    sampled = problem.log_probs(problem.theta)
    got = torch.autograd.functional.hessian(
        lambda theta: problem.surrogate(theta, kind, weights, sampled), problem.theta
    )
    error = relative_error(got, want)
    assert error < 1e-12 if exact else error > 0.1


def test_maml_meta_gradient_is_exact_with_dice_and_wrong_with_log_prob(problem):
    """Objective: the return after one step along the expected gradient, J(theta + a * dJ/dtheta)."""
    theta = problem.theta.requires_grad_()
    gradient = torch.autograd.grad(problem.expected_return(theta), theta, create_graph=True)[0]
    want = torch.autograd.grad(problem.expected_return(theta + STEP_SIZE * gradient), theta)[0]
    weights = problem.probabilities(theta).detach()

    def meta_gradient(kind):
        return torch.autograd.grad(problem.expected_return(problem.adapted(theta, kind, weights)), theta)[0]

    assert relative_error(meta_gradient("dice"), want) < 1e-12
    assert relative_error(meta_gradient("log_prob"), want) > 0.01


def expected_return_after_sampling(problem, theta, kind):
    """E over one sampled trajectory of the return after adapting to it; differentiable in every way theta enters."""
    total = 0.0
    probabilities = problem.probabilities(theta)
    for i in range(4):
        one = torch.eye(4, dtype=torch.float64)[i]
        total = total + probabilities[i] * problem.expected_return(problem.adapted(theta, kind, one))
    return total


def estimated(problem, theta, kind, with_scores):
    """The expectation of the sampled meta-gradient: the gradient of what the outer loss says of each trajectory."""
    probabilities = problem.probabilities(theta).detach()
    total = 0.0
    for i in range(4):
        one = torch.eye(4, dtype=torch.float64)[i]
        after = problem.expected_return(problem.adapted(theta, kind, one))
        objective = after
        if with_scores:
            log_probs = problem.log_probs(theta)[i : i + 1]
            objective = objective + score_term(
                log_probs, log_probs.detach(), after.detach(), torch.ones(1, 2), clip=0.2
            )
        total = total + probabilities[i] * objective
    return torch.autograd.grad(total, theta)[0]


@pytest.mark.parametrize(
    ("kind", "with_scores", "right"),
    [("log_prob", True, True), ("log_prob", False, False), ("dice", True, False), ("lvc", True, False)],
)
def test_score_terms_belong_to_log_prob_alone(problem, kind, with_scores, right):
    theta = problem.theta.requires_grad_()
    want = torch.autograd.grad(expected_return_after_sampling(problem, theta, "log_prob"), theta)[0]
    error = relative_error(estimated(problem, theta, kind, with_scores), want)
    assert error < 1e-12 if right else error > 0.01


def test_two_inner_steps_and_the_next_task_by_enumeration(problem):
    """Al-Shedivat et al. 2018, eq. 4 and 8: fresh trajectories at each step, the return of the task that comes next."""
    theta = problem.theta.requires_grad_()
    size = torch.tensor(STEP_SIZE, dtype=torch.float64, requires_grad=True)
    following = TwoSteps()
    following.rewards_BH = -following.rewards_BH.flip(1)
    truth, estimate = 0.0, 0.0
    for first, second in itertools.product(torch.eye(4, dtype=torch.float64), repeat=2):
        once = theta + size * sampled_gradient(problem, theta, first)
        twice = once + size * sampled_gradient(problem, once, second)
        after = following.expected_return(twice)
        chance = (problem.probabilities(theta) * first).sum() * (problem.probabilities(once) * second).sum()
        scores = sum(
            score_term(
                problem.log_probs(at)[i : i + 1],
                problem.log_probs(at).detach()[i : i + 1],
                after.detach(),
                torch.ones(1, 2),
                clip=0.2,
            )
            for at, i in ((theta, int(first.argmax())), (once, int(second.argmax())))
        )
        truth = truth + chance * after
        estimate = estimate + chance.detach() * (after + scores)
    for of in (theta, size):
        want = torch.autograd.grad(truth, of, retain_graph=True)[0]
        assert relative_error(torch.autograd.grad(estimate, of, retain_graph=True)[0], want) < 1e-12


def sampled_gradient(problem, theta, one):
    return torch.autograd.grad(problem.surrogate(theta, "log_prob", one), theta, create_graph=True)[0]


@pytest.mark.parametrize("estimator", ["dice", "lvc"])
def test_score_terms_are_refused_where_the_surrogate_has_them(estimator):
    with pytest.raises(ValueError, match="twice"):
        MetaPolicyGradient(inner=InnerConfig(estimator=estimator), outer=OuterConfig(score_terms=True))


def test_log_prob_without_score_terms_is_refused_unless_first_order():
    with pytest.raises(ValueError, match="leaves the sampling gradient out"):
        MetaPolicyGradient(inner=InnerConfig(estimator="log_prob"))
    MetaPolicyGradient(inner=InnerConfig(estimator="log_prob", first_order=True))


def test_score_terms_are_refused_with_first_order():
    with pytest.raises(ValueError, match="first_order"):
        MetaPolicyGradient(
            inner=InnerConfig(estimator="log_prob", first_order=True), outer=OuterConfig(score_terms=True)
        )
