import os
import stat

import pytest
import torch

from metarl.supervised.class_store import ClassStore
from metarl.supervised.datasets import cache
from metarl.supervised.datasets.cache import cached_store


class Counted:
    """Makes a store, and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        images = torch.arange(3 * 2 * 2, dtype=torch.uint8).view(3, 1, 2, 2)
        return ClassStore.of_labelled(images, ["b", "ä", "b"], {"b": "x", "ä": "y"})


def same(found, expected):
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.starts, expected.starts)
    assert (found.names, found.groups) == (expected.names, expected.groups)


def test_a_store_comes_back_as_it_was(root):
    make = Counted()
    first, second = (cached_store("x", [root], make, mean=(0.5,), std=(2.0,)) for _ in range(2))
    assert make.times == 1
    same(second, first)
    assert (second.mean, second.std) == ((0.5,), (2.0,))
    assert first.md5 == second.md5


@pytest.mark.parametrize("harm", ["byte", "end", "checksum", "no checksum", "empty"])
def test_what_was_kept_is_made_anew_if_it_is_broken(root, harm):
    make = Counted()
    first = cached_store("x", [root], make)
    (kept,) = cache.folder().glob("*.safetensors")
    checksum, whole = kept.with_suffix(".sha256"), kept.read_bytes()
    actions = {
        "byte": lambda: kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1])),
        "end": lambda: kept.write_bytes(whole[:-5]),
        "checksum": lambda: checksum.write_text("0" * 64),
        "no checksum": checksum.unlink,
        "empty": lambda: kept.write_bytes(b""),
    }
    actions[harm]()
    same(cached_store("x", [root], make), first)
    assert make.times == 2
    cached_store("x", [root], make)
    assert make.times == 2


def test_a_file_deep_in_a_folder_counts(root):
    make = Counted()
    (root / "a" / "b").mkdir(parents=True)
    deep = root / "a" / "b" / "c.png"
    deep.write_text("1")
    for text, times in (("1", 1), ("22", 2)):
        deep.write_text(text)
        os.utime(deep, (1, 1))
        cached_store("x", [root], make)
        assert make.times == times
    (root / "a" / "new.png").write_text("")
    cached_store("x", [root], make)
    assert make.times == 3
    cached_store("other", [root], make)
    assert make.times == 4


def test_older_states_are_deleted_but_nothing_else(root):
    for name in ("one", "two"):
        (root / name).mkdir()
        cached_store("x", [root / name], Counted())
        cached_store("x y", [root / name], Counted())
    (root / "one" / "new.png").write_text("")
    before = set(cache.folder().iterdir())
    cached_store("x", [root / "one"], Counted())
    after = set(cache.folder().iterdir())
    assert len(before) == len(after) == 8
    assert len(before - after) == 2
    make = Counted()
    for what, name in (("x", "one"), ("x", "two"), ("x y", "one"), ("x y", "two")):
        cached_store(what, [root / name], make)
    assert make.times == 1  # "x y" of the folder that has changed


def test_what_a_process_that_is_gone_left_half_written_is_deleted(root):
    (root / "one").mkdir()
    cached_store("x", [root / "one"], Counted())
    kept = next(cache.folder().glob("x-*.safetensors")).name
    gone, mine = (cache.folder() / f".{kept}.{process}.tmp" for process in (2**22 + 1, os.getpid()))
    for each in (gone, mine):
        each.write_bytes(b"half")
    (root / "one" / "new.png").write_text("")
    cached_store("x", [root / "one"], Counted())
    assert mine.exists()
    assert not gone.exists()


def test_without_a_place_to_write_it_is_made_every_time(root, monkeypatch):
    (root / "file").write_text("")
    monkeypatch.setenv("METARL_CACHE", str(root / "file"))
    make = Counted()
    for times in (1, 2):
        same(cached_store("x", [root / "file"], make), Counted()())
        assert make.times == times


def test_a_full_disk_leaves_nothing_half_written(root, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    same(cached_store("x", [root], Counted()), Counted()())
    assert not list(cache.folder().iterdir())


def test_others_may_read_what_was_kept(root):
    cached_store("x", [root], Counted())
    (kept,) = cache.folder().glob("*.safetensors")
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(kept.with_suffix(".sha256").stat().st_mode)
