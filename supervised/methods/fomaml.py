"""First-order MAML (Finn, Abbeel and Levine 2017, section 5.2).

MAML whose outer gradient takes the inner gradients for constants: it is the gradient of L_query at the adapted weights.

Differences from the paper: those of `metarl.supervised.methods.maml`.
"""

from metarl.supervised.methods.maml import build

__all__ = ["build"]
