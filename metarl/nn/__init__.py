"""Layers that stay exact under vmap and under second derivatives.

PyTorch's fused norms lose part of their second derivative under `torch.func.vmap`, without an error (their
batched backward uses saved statistics that carry no history). The norms here are written from primitive
operations instead, and `refuse_fused_norms` finds the others.
"""

from metarl.nn.activations import nonlinearity
from metarl.nn.blocks import ConvBlock, Film, MaxPool2d, modulate
from metarl.nn.convolution import conv2d, low_precision
from metarl.nn.networks import MLP, Linear, LSTMCell, linear, lstm, lstm_cell
from metarl.nn.norms import NORMS, BatchNorm, GroupNorm, LayerNorm, norm_layer, normalise, recorded_moments
from metarl.nn.pooling import max_pool
from metarl.transforms import refuse_fused_norms, stateless

__all__ = [
    "MLP",
    "NORMS",
    "BatchNorm",
    "ConvBlock",
    "Film",
    "GroupNorm",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "MaxPool2d",
    "conv2d",
    "linear",
    "low_precision",
    "lstm",
    "lstm_cell",
    "max_pool",
    "modulate",
    "nonlinearity",
    "norm_layer",
    "normalise",
    "recorded_moments",
    "refuse_fused_norms",
    "stateless",
]
