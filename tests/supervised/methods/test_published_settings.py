"""Presets: the numbers of the papers, and of the authors' code, written out."""

from operator import attrgetter

import pytest

from metarl.supervised.methods import preset
from metarl.supervised.presets import prototypical, tadam

OMNIGLOT, OMNIGLOT_20, MINI, MINI_5 = (
    ("omniglot", 5, 1),
    ("omniglot", 20, 1),
    ("mini-imagenet", 5, 1),
    ("mini-imagenet", 5, 5),
)
WAVES = ("sinusoid", 5, 10)
TIERED = ("tiered-imagenet", 5, 1)

GRADIENTS = (
    "inner.steps",
    "inner.test_steps",
    "inner.lr",
    "training.tasks",
    "training.query",
    "training.lr",
    "training.max_grad_value",
)
"""Of methods that adapt by gradient steps."""
LIKE_MAML = ("maml", "fomaml", "anil", "t-net", "meta-curvature", "geodesic")
MAML = {
    OMNIGLOT: (1, 3, 0.4, 32, 1, 1e-3, None),
    ("omniglot", 5, 5): (1, 3, 0.4, 32, 5, 1e-3, None),
    OMNIGLOT_20: (5, 5, 0.4, 16, 1, 1e-3, None),
    MINI: (5, 10, 0.05, 4, 15, 1e-3, 10.0),
    MINI_5: (5, 10, 0.05, 2, 15, 1e-3, 10.0),
    WAVES: (1, 1, 0.01, 25, 10, 1e-3, None),
}
OTHERS = {
    ("meta-sgd", *OMNIGLOT): (1, 1, 0.1, 32, 1, 1e-3, 10.0),
    ("meta-sgd", *MINI): (1, 1, 0.1, 4, 15, 1e-3, 10.0),
    ("meta-sgd", *WAVES): (1, 1, 0.01, 25, 10, 1e-3, 10.0),
    ("maml++", *OMNIGLOT_20): (5, 5, 0.1, 8, 1, 1e-3, None),
    ("maml++", *MINI_5): (5, 5, 0.01, 2, 15, 1e-3, 10.0),
    ("cavia", *MINI): (2, 2, 1.0, 16, 15, 1e-3, 10.0),
    ("cavia", *MINI_5): (2, 2, 1.0, 8, 15, 1e-3, 10.0),
    ("cavia", *WAVES): (1, 1, 1.0, 25, 10, 1e-3, None),
    ("reptile", *OMNIGLOT): (5, 50, 1e-3, 5, 1, 1.0, None),
    ("reptile", *OMNIGLOT_20): (10, 50, 5e-4, 5, 1, 1.0, None),
    ("reptile", *MINI): (8, 50, 1e-3, 5, 1, 1.0, None),
    ("mtl", *MINI): (100, 100, 0.01, 2, 15, 1e-3, None),
    ("meta-lstm", *MINI): (12, 12, 0.4, 1, 15, 1e-3, None),
    ("meta-lstm", *MINI_5): (8, 8, 0.4, 1, 15, 1e-3, None),
}


@pytest.mark.parametrize("name", LIKE_MAML)
def test_the_family_of_maml_has_its_inner_loop_and_episodes(name):
    assert {each: attrgetter(*GRADIENTS)(preset(name, *each)) for each in MAML} == MAML


def test_other_methods_with_an_inner_loop_have_their_own():
    assert {each: attrgetter(*GRADIENTS)(preset(*each)) for each in OTHERS} == OTHERS


@pytest.mark.parametrize(
    ("name", "names", "wanted"),
    [
        (
            "prototypical",
            "training.way training.query training.lr training.decay training.decay_every",
            {OMNIGLOT_20: (60, 5, 1e-3, 0.5, 2000), MINI: (30, 15, 1e-3, 0.5, 2000)},
        ),
        (
            "gaussian-prototypical",
            "training.way training.query training.decay training.decay_every",
            {OMNIGLOT: (60, 5, 0.5, 2000), MINI_5: (20, 15, 0.5, 2000)},
        ),
        ("matching", "training.query distance reads", {OMNIGLOT: (5, "cosine", 3), MINI: (15, "cosine", 3)}),
        (
            "relation",
            "training.query training.decay_every training.max_grad_norm filters units loss",
            {OMNIGLOT: (19, 100_000, 0.5, 64, 8, "mse"), MINI_5: (10, 100_000, 0.5, 64, 8, "mse")},
        ),
        (
            "tadam",
            "training.lr training.momentum training.weight_decay training.decay training.max_grad_norm batch",
            {MINI: (0.1, 0.9, 5e-4, 0.1, 1.0, 64)},
        ),
        (
            "classifier-baseline",
            "training.lr training.momentum training.weight_decay training.decay training.milestones batch scale",
            {
                MINI: (0.1, 0.9, 5e-4, 0.1, (0.9,), 128, 10.0),
                TIERED: (0.1, 0.9, 5e-4, 0.1, (1 / 3, 2 / 3), 512, 10.0),
            },
        ),
        (
            "meta-baseline",
            "training.lr training.momentum training.tasks pretraining.share pretraining.lr pretraining.batch scale",
            {MINI: (1e-3, 0.9, 4, 0.88, 0.1, 128, 10.0), TIERED: (1e-3, 0.9, 4, 0.96, 0.1, 512, 10.0)},
        ),
        (
            "leo",
            "training.lr l2 orthogonality dropout kl encoder_penalty latent steps finetuning_steps latent_lr",
            {
                MINI: (2.739e-4, 3.62e-10, 0.188, 0.3077, 0.756, 5.757e-6, 64, 5, 5, 1.0),
                MINI_5: (4.102e-4, 8.54e-9, 1.52e-3, 0.3003, 0.4664, 2.66e-7, 64, 5, 5, 1.0),
                TIERED: (8.659e-4, 4.15e-10, 5.45e-3, 0.475, 2.03e-3, 8.3e-5, 64, 5, 5, 1.0),
            },
        ),
        ("siamese", "pairs bias affine training.lr", {("omniglot-lake", 20, 1): (128, 0.0, True, 1e-4)}),
        ("maml++", "multi_step_share training.final_lr", {OMNIGLOT: (0.1, 1e-5), MINI: (0.15, 1e-5)}),
        ("cavia", "context training.decay training.decay_every", {MINI: (100, 0.9, 5000)}),
        (
            "reptile",
            "training.shot batch test_batch",
            {OMNIGLOT: (10, 10, 5), OMNIGLOT_20: (10, 20, 10), MINI_5: (15, 10, 15)},
        ),
        ("versa", "features samples training.query", {MINI: (256, 10, 15)}),
    ],
)
def test_every_preset_says_what_was_published(name, names, wanted):
    assert {each: attrgetter(*names.split())(preset(name, *each)) for each in wanted} == wanted


def test_what_closeness_is_multiplied_by_where_nothing_is_asked_for():
    assert prototypical.SCALES == {"squared": 1.0, "cosine": 10.0}
    assert tadam.SCALES == {"euclidean": 7.5, "squared": 1.0, "cosine": 10.0}
