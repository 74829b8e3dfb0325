import pytest
import torch

from metarl.nn import refuse_fused_norms
from metarl.supervised.backbones import Conv4


@pytest.mark.parametrize(
    ("kw", "features", "parameters"),
    [
        ({"image": (1, 28, 28)}, 64, 111_680 + 325),
        ({"image": (1, 28, 28), "halve": "stride"}, 64, 111_680 + 325),
        ({"image": (3, 84, 84), "channels": 32}, 800, 28_768 + 4_005),
        ({"image": (3, 84, 84), "way": None}, 1600, 112_832),
        ({"image": (1, 28, 28), "norm": "group"}, 64, 111_936 + 325),
    ],
)
def test_shapes_and_sizes(kw, features, parameters):
    net = Conv4(**kw)
    images = torch.randn(2, *kw["image"])
    assert net.features(images).shape == (2, features)
    assert net(images).shape == (2, 5 if kw.get("way", 5) else features)
    assert sum(value.numel() for value in net.parameters()) == parameters
    refuse_fused_norms(net)


def test_transductive_norm_uses_the_batch_at_hand_and_group_norm_does_not():
    images = torch.randn(4, 1, 28, 28, dtype=torch.float64)
    for norm, alone_differs in (("transductive", True), ("group", False)):
        net = Conv4(norm=norm).double()
        assert torch.allclose(net(images)[:2], net(images[:2])) is not alone_differs
        assert not list(net.buffers())


@pytest.mark.parametrize(
    ("kw", "match"),
    [
        ({"norm": "batch"}, "transductive"),
        ({"norm": "grup"}, "did you mean 'group'"),
        ({"halve": "none"}, "halve must be"),
        ({"image": (1, 15, 28)}, "at least 16x16"),
    ],
)
def test_mistakes_are_named(kw, match):
    with pytest.raises(ValueError, match=match):
        Conv4(**kw)
