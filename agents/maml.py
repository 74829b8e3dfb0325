"""MAML: model-agnostic meta-learning with policy gradients.

Finn, Abbeel, Levine 2017 (arXiv 1703.03400), Algorithm 3: one or more vanilla policy-gradient steps per task, a
trust-region step on the adapted policies' surrogate. What differs: the inner surrogate is DiCE (Foerster et al.
2018, arXiv 1802.05098) in its advantage form (Farquhar et al. 2019), whose second derivative is right; the published
code's log-probability surrogate loses the sampling's share of the meta-gradient. And numbers: inner step size 0.3
(published implementations 0.1), damping 1e-3 (1e-5), lambda 0.95 (1) and 20 tasks per iteration (40).
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig

CONFIG = MetaPolicyGradient(inner=InnerConfig(estimator="dice"), outer=OuterConfig(step="trpo"))
