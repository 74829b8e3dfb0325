"""CAVIA: only a context vector adapts; the network is shared by all tasks.

Zintgraf et al. 2019 (arXiv 1810.03642): context parameters start at zero for every task, join the observation at
the input, and take the inner step; the outer step moves everything else. What differs: the inner surrogate is LVC
rather than the published code's log-probability (see `metarl.agents.maml`), and the outer step is ProMP's, which
learns more from the same trajectories than a trust-region step. And numbers: 5 context parameters (the published code's
default 2), inner step size 10 (1), discount 0.99 (0.95) and lambda 0.95 (1).
"""

from metarl.agents.configs import InnerConfig, MetaPolicyGradient, OuterConfig, PolicyConfig

CONFIG = MetaPolicyGradient(
    policy=PolicyConfig(context_size=5),
    inner=InnerConfig(estimator="lvc", adapted="context", lr=10.0),
    outer=OuterConfig(step="ppo"),
)
