"""ProMP: proximal meta-policy search.

Rothfuss et al. 2019 (arXiv 1810.06784): the low-variance-curvature inner surrogate (eq. 8), a clipped outer
surrogate optimised for several epochs on one batch, and a penalty on the KL divergence between each inner step's
policy and the one that sampled (eq. 12). What differs from the published code: inner step size 0.3 (there 0.1), outer
step size 3e-3 (1e-3), lambda 0.95 (1) and 20 tasks per iteration (40).
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(inner=InnerConfig(estimator="lvc"), outer=OuterConfig(step="ppo"))
