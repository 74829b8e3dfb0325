"""Meta-SGD: MAML whose step sizes are learned too, one for every parameter.

Li et al. 2017 (arXiv 1707.09835), eq. 3: adapted = params - sizes * gradient, elementwise, both meta-learned. What
differs: with several inner steps every step has sizes of its own; the outer step is ProMP's, so that step sizes and
parameters share one optimiser.
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(
    inner=InnerConfig(estimator="lvc", step_sizes="parameter"), outer=OuterConfig(step="ppo")
)
