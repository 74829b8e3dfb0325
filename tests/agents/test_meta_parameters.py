"""What is meta-learned beside the networks: step sizes, and where they start."""

import pytest

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig, PolicyConfig
from metarl.agents.meta_parameters import MetaParameters


@pytest.mark.parametrize("step_sizes", ["tensor", "parameter"])
@pytest.mark.parametrize(("context_lr", "of_context"), [(None, 0.25), (20.0, 20.0)])
def test_learned_step_sizes_start_where_they_are_told_those_of_the_context_elsewhere(
    step_sizes, context_lr, of_context
):
    config = MetaPolicyGradient(
        policy=PolicyConfig(hidden=(4,), context_size=3),
        inner=InnerConfig(estimator="lvc", lr=0.25, context_lr=context_lr, step_sizes=step_sizes, steps=2),
        outer=OuterConfig(step="ppo"),
    )
    parameters = dict(MetaParameters(2, 2, 5, config).named_parameters())
    sizes = {name: value for name, value in parameters.items() if name.startswith("rule.lr.")}
    assert {name.removeprefix("rule.lr.") for name in sizes} == {
        n for n in parameters if n.startswith("policy.")
    }
    context = sizes.pop("rule.lr.policy.context")
    assert context.shape == ((2,) if step_sizes == "tensor" else (2, 3))
    assert (context == of_context).all()
    assert all((each == 0.25).all() for each in sizes.values())
