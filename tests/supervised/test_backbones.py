import pytest
import torch

from metarl.nn import refuse_fused_norms
from metarl.supervised.backbones import Conv4, backbone
from metarl.supervised.methods.config import Backbone


@pytest.mark.parametrize(
    ("kw", "features", "parameters"),
    [
        ({"image": (1, 28, 28)}, 64, 111_936),
        ({"image": (1, 28, 28), "halve": "stride"}, 64, 111_936),
        ({"image": (3, 84, 84), "channels": 32}, 800, 28_896),
        ({"image": (3, 84, 84)}, 1600, 113_088),
        ({"image": (3, 84, 84), "channels": 128}, 3200, 447_000),
    ],
)
def test_conv4_has_the_published_sizes(kw, features, parameters):
    net = Conv4(**kw)
    images = torch.randn(2, *kw["image"])
    assert net(images).shape == (2, features)
    assert net.maps(images).shape == (2, *net.map_shape)
    assert net.feature_size == features
    biases = 4 * kw.get("channels", 64)  # of the convolutions: ours have none before batch norm
    assert sum(value.numel() for value in net.parameters()) == pytest.approx(parameters - biases, abs=600)
    refuse_fused_norms(net)


@pytest.mark.parametrize(
    ("kw", "match"),
    [
        ({"norm": "grup"}, "did you mean 'group'"),
        ({"halve": "none"}, "halve must be"),
        ({"image": (1, 15, 28)}, "at least 16x16"),
    ],
)
def test_mistakes_are_named(kw, match):
    with pytest.raises(ValueError, match=match):
        Conv4(**kw)


def test_an_unknown_backbone_is_named():
    with pytest.raises(ValueError, match="did you mean 'conv4'"):
        backbone(Backbone(name="conv5"), (1, 28, 28))
