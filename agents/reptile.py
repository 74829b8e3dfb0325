"""Reptile: move towards the parameters that a few plain policy-gradient steps lead to.

Nichol, Achiam, Schulman 2018 (arXiv 1803.02999), Algorithm 2 (batched): params += lr * mean(adapted - params).
No derivative of the inner loop is taken.
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(
    inner=InnerConfig(estimator="log_prob", steps=3), outer=OuterConfig(step="reptile", lr=0.3)
)
