"""Matching networks (Vinyals et al. 2016, "Matching Networks for One Shot Learning").

A query pays attention to every support image, a_i = softmax_i(s cos(f(q), g(x_i))), and belongs to a class with
probability sum_i a_i over the class's images. The loss is minus the log of that sum for the true class.

With full context f and g depend on the whole support (f' and g' are the backbone's features):
    g(x_i): sum of g'(x_i) and the hidden states of two LSTMs that read the support forwards and backwards.
    f(q): h after K reads, of h_k = LSTM(f'(q), [h_{k-1}, r_{k-1}]) + f'(q), r_k = sum_i softmax_i(h_k . g(x_i)) g(x_i);
    h_0 = 0, so that r_0 is the mean of g.

Differences from the paper: cosines are multiplied by a learned scale s (the paper: 1). The two LSTMs read the support
in an order that the pictures alone decide (by a fixed random projection), where the paper's order is random: neither
labels nor the order of rows change the result. Squared distances may take the place of cosines. Fine-tuning on the
support is left out.

Legend: N support images, M queries, W ways (classes), Q queries of each class, D features.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarl.nn import LSTMCell, lstm
from metarl.supervised.backbones import backbone
from metarl.supervised.distances import members
from metarl.supervised.episodes import Episode
from metarl.supervised.methods.config import Statistics
from metarl.supervised.methods.method import Method, Params
from metarl.supervised.methods.prototypical import closeness
from metarl.supervised.normalisation import embed
from metarl.supervised.presets.matching import Config
from metarl.supervised.presets.prototypical import SCALES
from metarl.transforms import stateless


class FullContext(nn.Module):
    """Features that depend on the whole support.

    Args:
        size: D.
        reads: How often a query reads from the support.
    """

    def __init__(self, size: int, reads: int):
        super().__init__()
        self.reads = reads
        self.forwards, self.backwards = LSTMCell(size, size), LSTMCell(size, size)
        self.reader = LSTMCell(2 * size, size)

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """Support (N, D), in the order to be read in, and queries (M, D) to the same shapes."""
        support = support + _read(self.forwards, support) + _read(self.backwards, support.flip(0)).flip(0)
        hidden, cell = torch.zeros_like(query), torch.zeros_like(query)
        for _ in range(self.reads):
            read = (hidden @ support.mT).softmax(-1) @ support
            hidden, cell = self.reader(torch.cat([query, read], -1), (hidden, cell))
            hidden = hidden + query
        return support, hidden


def _read(cell: LSTMCell, rows: Tensor) -> Tensor:
    """Hidden states after each of the rows (N, D), read one after the other."""
    zeros = torch.zeros_like(rows[:1])
    return lstm(dict(cell.named_parameters()), rows.unsqueeze(1), (zeros, zeros))[0].squeeze(1)


def build(config: Config, image: tuple[int, int, int], classes: int, way: int, shot: int) -> Method:
    """Matching networks with fresh parameters.

    Args:
        config: Settings.
        image: Channels, height and width.
        classes: Training classes (not needed).
        way: Classes of an episode (not needed: any number will do).
        shot: Support images of each class (likewise).
    """
    module = nn.Module()
    module.net = backbone(config.backbone, image)
    net = stateless(module.net, "net.")
    scale = config.scale or SCALES[config.distance]
    if config.learn_scale:
        module.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
    context = None
    if config.full_context:
        module.context = FullContext(module.net.feature_size, config.reads)
        context = stateless(module.context, "context.")
        projection = torch.randn(math.prod(image), generator=torch.Generator().manual_seed(0))
        module.register_buffer("projection", projection, persistent=False)

    def task(params: Params, episode: Episode, statistics: Statistics) -> tuple[Tensor, Tensor]:
        support, query = embed(partial(net, params), episode, statistics)
        labels = episode.support_labels
        if context is not None:
            order = (episode.support.flatten(1) @ module.projection).argsort()
            labels = labels[order]
            support, query = context(params, support[order], query)
        factor = params["log_scale"].exp() if config.learn_scale else scale
        scores = log_attention(factor * closeness(query, support, config.distance), labels, episode.way)
        return F.nll_loss(scores, episode.query_labels), scores

    return Method(module, task, embeds=context is None)  # the order of reading is found in the images


def log_attention(weights: Tensor, labels: Tensor, way: int) -> Tensor:
    """Log of the attention that each class gets in all.

    Args:
        weights: Before the softmax over support images, (M, N).
        labels: Classes of the support images, int64 in [0, W), (N,).
        way: W.

    Returns:
        (M, W); a class without images gets next to none.
    """
    logs = weights.log_softmax(-1).unsqueeze(1)
    return logs.masked_fill(~members(labels, way), torch.finfo(weights.dtype).min).logsumexp(-1)
