import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from metarl import videos


def frames(num=10, height=48, width=64):
    picture = np.zeros((num, height, width, 3), np.uint8)
    for i in range(num):
        picture[i, :, : 6 * i, 0] = 200
    return list(picture)


def decode(path):
    reader = pytest.importorskip("imageio_ffmpeg").read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    return facts, [np.frombuffer(each, np.uint8).reshape(height, width, 3) for each in reader]


def test_an_mp4_holds_the_frames_it_was_given(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = videos.write_video(tmp_path / "deep" / "clip.mp4", frames(), fps=20)
    facts, shown = decode(path)
    assert facts["pix_fmt"].startswith("yuv420p")
    assert facts["fps"] == 20
    assert len(shown) == 10
    assert shown[9][24, 20, 0] > 150
    assert shown[0][24, 20, 0] < 50


def test_odd_sizes_are_filled_up_to_even_ones(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    facts, _ = decode(videos.write_video(tmp_path / "clip.mp4", frames(3, 33, 65), fps=10))
    assert facts["size"] == (66, 34)


@pytest.mark.parametrize(
    ("fps", "num", "milliseconds"), [(20, 10, 50), (50, 10, 20), (100, 5, 20), (60, 5, 30)]
)
def test_a_gif_keeps_its_speed_though_it_counts_in_hundredths(tmp_path, fps, num, milliseconds):
    with Image.open(videos.write_video(tmp_path / "clip.gif", frames(), fps)) as image:
        assert image.n_frames == num
        assert image.info["duration"] == milliseconds
        assert image.size == (64, 48)


def test_other_suffixes_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"did you mean '\.mp4'"):
        videos.write_video(tmp_path / "clip.mp3", frames(), 20)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no frames"),
        ([np.zeros((4, 4), np.uint8)], "expected uint8"),
        ([np.zeros((4, 4, 3))], "expected uint8"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], "one size"),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        videos.write_video(tmp_path / "clip.gif", bad, 20)


def test_frames_may_come_one_by_one(tmp_path):
    path = videos.write_video(tmp_path / "clip.gif", iter(frames(4)), 20)
    with Image.open(path) as image:
        assert image.n_frames == 4


def test_no_frames_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        videos.write_video(tmp_path / "clip.gif", iter(()), 20)
    assert not list(tmp_path.iterdir())


def test_without_ffmpeg_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r'pip install "metarl-suite\[video\]"'):
        videos.write_video(tmp_path / "clip.mp4", frames(), 20)


def test_a_caption_is_white_on_a_dark_band_and_leaves_the_frame_alone():
    frame = np.full((240, 320, 3), 128, np.uint8)
    shown = videos.caption(frame, "before adapting")
    assert (frame == 128).all()
    assert shown.shape == frame.shape
    assert shown.dtype == np.uint8
    assert shown[:30].max() == 255
    assert shown[2, 2].max() < 100
    assert (shown[120:] == 128).all()


def test_a_long_caption_is_made_to_fit():
    shown = videos.caption(np.zeros((240, 160, 3), np.uint8), "goal 0.52 -1.31, after 3 inner steps")
    lit = np.flatnonzero((shown > 200).any(axis=(0, 2)))
    assert lit.min() > 0
    assert lit.max() < 159


def test_frames_side_by_side_with_a_gap():
    left, right = np.zeros((4, 6, 3), np.uint8), np.full((2, 3, 3), 9, np.uint8)
    both = videos.side_by_side(left, right, gap=2)
    assert both.shape == (4, 11, 3)
    assert (both[:, :6] == 0).all()
    assert (both[:, 6:8] == 255).all()
    assert (both[:2, 8:] == 9).all()
    assert (both[2:, 8:] == 255).all()


def test_a_task_in_a_few_words():
    assert videos.task_text({"direction": -1.0}) == "direction -1"
    assert videos.task_text({"goal": [0.5, -1.25]}) == "goal 0.5 -1.25"
    assert videos.task_text({"opponent": "bug", "version": 3}) == "opponent bug, version 3"
    assert videos.task_text({"mass": [1, 2, 3, 4, 5]}) == "mass 1 2 3 4 ..."


def test_no_torch_is_imported():
    code = "import sys, metarl.videos; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
