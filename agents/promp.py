"""ProMP: proximal meta-policy search.

Rothfuss et al. 2019 (arXiv 1810.06784): the low-variance-curvature inner surrogate (eq. 8), a clipped outer
surrogate optimised for several epochs on one batch, and a penalty on the KL divergence between each inner step's
policy and the one that sampled (eq. 12).
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(inner=InnerConfig(estimator="lvc"), outer=OuterConfig(step="ppo"))
