import numpy as np
import pytest
from PIL import Image

from metarl.supervised.datasets import Reading, read_pictures, reference
from metarl.supervised.datasets.reading import resized


def test_other_pictures_are_brought_to_the_same_form(tmp_path):
    picture = Image.new("RGB", (56, 40), "white")
    picture.paste("black", (0, 0, 28, 40))
    picture.save(tmp_path / "half.png")
    found = read_pictures([tmp_path / "half.png"], reference("strokes"))
    assert found.shape == (1, 1, 28, 28)
    assert found[0, 0, :, :12].min() > 250  # ink
    assert found[0, 0, :, 16:].max() < 5
    with pytest.raises(ValueError, match=r"no such image: .*none\.png"):
        read_pictures([tmp_path / "none.png"], reference("strokes"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is not an image"):
        read_pictures([tmp_path / "text.png"], reference("strokes"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white_paper(tmp_path, mode):
    picture = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (0, 0, 14, 28))
    picture.convert(mode).save(tmp_path / "drawn.png", **({"transparency": 0} if mode == "P" else {}))
    if mode == "P":  # everything of the first colour is transparent
        drawn = Image.new("P", (28, 28), 0)
        drawn.putpalette([0, 0, 0, 10, 10, 10])
        drawn.paste(1, (0, 0, 14, 28))
        drawn.save(tmp_path / "drawn.png", transparency=0)
    found = read_pictures([tmp_path / "drawn.png"], reference("strokes"))
    assert found[0, 0, :, :14].min() >= 245  # ink
    assert found[0, 0, :, 14:].max() == 0


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_photographs_are_seen_upright(tmp_path, kind):
    photograph = Image.new("RGB", (40, 20), "white")
    photograph.paste("black", (0, 0, 20, 20))  # left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: left is above then
    photograph.save(tmp_path / "photograph", kind, exif=exif)
    found = read_pictures([tmp_path / "photograph"], Reading(size=16, channels=3))
    assert found[0, :, :6].max() < 20
    assert found[0, :, 10:].min() > 235


@pytest.mark.parametrize("size", [6, 9])
def test_arrays_are_brought_to_size(size):
    images = np.zeros((2, 6, 6, 3), np.uint8)
    images[0, :3, :, 0], images[1, :, 3:, 2] = 200, 100
    images.flags.writeable = False
    found = resized(images, size)
    assert found.shape == (2, 3, size, size)
    for row, channel, bright, dark, value in ((0, 0, (0, 0), (-1, 0), 200), (1, 2, (0, -1), (0, 0), 100)):
        assert int(found[row, channel][bright]) == pytest.approx(value, abs=3)
        assert int(found[row, channel][dark]) <= 3
        assert found[row, 1].max() == 0
