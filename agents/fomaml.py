"""FOMAML: first-order MAML.

Finn et al. 2017 (arXiv 1703.03400), section 5.2: the meta-gradient is the gradient at the adapted parameters, as if
they did not depend on the starting ones. Cheaper, and blind to how sampling before adaptation shapes it.
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(
    inner=InnerConfig(estimator="log_prob", first_order=True), outer=OuterConfig(step="trpo")
)
