from functools import partial

import pytest
import torch

from metarl.supervised import augmentation
from metarl.supervised.augmentation import affine, crop, flip, resized_crop

WAYS = {
    "flip": flip,
    "crop": partial(crop, padding=3),
    "resized_crop": resized_crop,
    "affine": affine,
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def blob(number, size, row, column, width=2.0, channels=1):
    """Images with one bright spot, and where it is."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    spot = torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))
    return spot.expand(number, channels, size, size).contiguous()


def centre(images):
    """Mean row and column of the brightness, (N, 2)."""
    places = torch.arange(images.shape[-1], dtype=images.dtype)
    mass = images.sum((1, 2, 3))
    rows, columns = (images.sum((1, axis)) @ places / mass for axis in (3, 2))
    return torch.stack([rows, columns], 1)


@pytest.mark.parametrize("name", WAYS)
def test_the_generator_decides_and_the_images_stay_as_they_were(name):
    images = torch.rand(6, 3, 10, 12, generator=generator(1))
    before = images.clone()
    found = WAYS[name](images, generator())
    assert found.shape == images.shape
    assert torch.equal(found, WAYS[name](images, generator()))
    assert not torch.equal(found, WAYS[name](images, generator(2)))
    assert torch.equal(images, before)


def test_about_half_are_mirrored_and_the_others_are_not():
    images = torch.rand(400, 2, 4, 6, generator=generator())
    found = flip(images, generator())
    mirrored = (found == images.flip(3)).flatten(1).all(1)
    untouched = (found == images).flatten(1).all(1)
    assert (mirrored ^ untouched).all()
    assert 160 < int(mirrored.sum()) < 240


def test_a_crop_is_a_window_of_the_padded_image():
    images = torch.rand(200, 2, 5, 7, generator=generator())
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    found = crop(images, generator(), padding=1)
    windows = torch.stack([padded[:, :, y : y + 5, x : x + 7] for y in range(3) for x in range(3)])
    matches = (windows == found).flatten(2).all(2)
    assert (matches.sum(0) == 1).all()
    assert (matches.sum(1) > 5).all()  # every window is used
    assert torch.equal(crop(images, generator(), padding=0), images)


def test_a_crop_takes_bytes():
    images = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8, generator=generator())
    assert crop(images, generator(), padding=2).dtype == torch.uint8


def test_windows_of_the_whole_image_change_nothing():
    images = torch.rand(5, 3, 8, 8, generator=generator())
    torch.testing.assert_close(resized_crop(images, generator(), (1.0, 1.0), (1.0, 1.0)), images)


def test_windows_have_the_area_and_ratio_asked_for_and_lie_inside():
    ramp = torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64)
    images = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)]).expand(300, 2, 64, 64)
    found = resized_crop(images, generator(), (0.2, 0.5), (0.5, 2.0))
    assert found.abs().max() <= images.max() + 1e-6
    middle = slice(8, 56)  # away from the border, where a ramp is cut off
    width = (found[:, 0, 0, 55] - found[:, 0, 0, 8]) / (ramp[55] - ramp[8])
    height = (found[:, 1, middle, 0][:, -1] - found[:, 1, middle, 0][:, 0]) / (ramp[55] - ramp[8])
    area, ratio = width * height, width / height
    assert 0.195 < area.min() < 0.22
    assert 0.47 < area.max() < 0.505
    assert 0.49 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.05


def only(**changes):
    nothing = {"degrees": 0.0, "shear": 0.0, "scale": (1.0, 1.0), "translation": 0.0, "probability": 1.0}
    return nothing | changes


def test_without_a_change_nothing_changes():
    images = torch.rand(4, 2, 9, 11, generator=generator())
    torch.testing.assert_close(affine(images, generator(), **only()), images)
    torch.testing.assert_close(affine(images, generator(), probability=0.0), images)


def test_moves_are_in_pixels_along_both_axes():
    images = blob(300, 25, 12, 12)
    moved = centre(affine(images, generator(), **only(translation=3.0))) - 12
    assert (moved.abs() < 3.02).all()
    assert (moved.abs().max(0).values > 2.8).all()
    assert (moved.mean(0).abs() < 0.4).all()


def test_a_turn_keeps_the_distance_and_is_of_the_largest_angle_at_most():
    images = blob(300, 41, 20, 32)
    moved = centre(affine(images, generator(), **only(degrees=30.0))) - 20
    torch.testing.assert_close(moved.norm(dim=1), torch.full((300,), 12.0), atol=0.1, rtol=0)
    angles = torch.rad2deg(torch.atan2(moved[:, 0], moved[:, 1]))
    assert 28 < angles.max() < 30.5
    assert -30.5 < angles.min() < -28


def test_factors_and_shears_move_a_spot_as_they_should():
    images = blob(300, 41, 20, 28)
    columns = centre(affine(images, generator(), **only(scale=(0.5, 1.5))))[:, 1] - 20
    assert 3.9 < columns.min() < 4.3
    assert 11.6 < columns.max() < 12.1
    slanted = centre(affine(images, generator(), **only(shear=0.5))) - 20
    torch.testing.assert_close(slanted[:, 1], torch.full((300,), 8.0), atol=0.1, rtol=0)
    assert 3.7 < slanted[:, 0].max() < 4.1


def test_a_turn_of_a_wide_image_is_no_shear():
    wide = torch.cat([blob(50, 41, 20, 20), torch.zeros(50, 1, 41, 40)], 3).roll(
        30, 3
    )  # (41, 81), at (20, 50)
    rows, columns = torch.arange(41.0), torch.arange(81.0)
    found = affine(wide, generator(), **only(degrees=40.0))
    mass = found.sum((1, 2, 3))
    moved = torch.stack([found.sum((1, 3)) @ rows / mass - 20, found.sum((1, 2)) @ columns / mass - 40], 1)
    torch.testing.assert_close(moved.norm(dim=1), torch.full((50,), 10.0), atol=0.1, rtol=0)


def test_each_change_has_a_chance_of_its_own():
    images = blob(2000, 21, 10, 10)
    moved = centre(affine(images, generator(), **only(translation=2.0, probability=0.3))) - 10
    share = (moved.abs() > 1e-3).float().mean(0)
    assert (share - 0.3).abs().max() < 0.04
    both = (moved.abs() > 1e-3).all(1).float().mean()
    assert abs(float(both) - 0.09) < 0.03


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(crop, padding=-1), "padding=-1"),
        (partial(resized_crop, area=(0.5, 1.2)), r"area=\(0.5, 1.2\).*at most 1"),
        (partial(resized_crop, area=(0.0, 1.0)), "area="),
        (partial(resized_crop, ratio=(2.0, 1.0)), "the smaller first"),
        (partial(affine, scale=(-1.0, 1.0)), "scale="),
    ],
)
def test_bounds_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 1, 4, 4), generator())


def test_gradients_reach_the_images():
    images = torch.rand(2, 1, 6, 6, dtype=torch.float64, generator=generator()).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augmentation.affine(x, generator()), images)
