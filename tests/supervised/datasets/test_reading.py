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


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_keeps_its_shades(tmp_path, kind):
    shades = np.array([[0, 257, 12_850], [32_896, 50_000, 65_535]], np.uint16)
    Image.fromarray(shades.repeat(3, 0).repeat(2, 1)).save(tmp_path / "deep", kind)
    for channels in (1, 3):
        found = read_pictures([tmp_path / "deep"], Reading(size=6, channels=channels))
        assert found[0, :, ::3, ::2].tolist() == [[[0, 1, 50], [128, 195, 255]]] * channels


def test_numbers_of_32_bits_that_fit_into_8_are_kept(tmp_path):
    Image.fromarray(np.array([[0, 7], [100, 255]], np.int32)).save(tmp_path / "wide.tif")
    found = read_pictures([tmp_path / "wide.tif"], Reading(size=2, channels=1))
    assert found.tolist() == [[[[0, 7], [100, 255]]]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.ones((2, 2), np.float32), r"deep\.tif is not an image .*fractions.* 8 or 16 bits"),
        (
            np.full((2, 2), 70_000, np.int32),
            r"deep\.tif is not an image .*go from 70000 to 70000, expected 0 to",
        ),
        (np.full((2, 2), -1, np.int32), r"deep\.tif is not an image .*go from -1 to -1, expected 0 to"),
    ],
)
def test_pixels_that_do_not_say_what_is_white_are_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=message):
        read_pictures([tmp_path / "deep.tif"], Reading(size=2, channels=1))


def test_colours_that_cannot_be_converted_are_named(tmp_path):
    Image.new("LAB", (2, 2)).save(tmp_path / "lab.tif")
    with pytest.raises(ValueError, match=r"lab\.tif is not an image that can be read"):
        read_pictures([tmp_path / "lab.tif"], Reading(size=2, channels=1))
