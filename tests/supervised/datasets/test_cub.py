import pytest

from metarl.supervised.datasets import SPLITS, load
from tests.supervised.datasets.pictures import colour, picture, reds, write


def contents(kinds=200):
    found = {
        f"CUB_200_2011/images/{kind:03d}.Bird_{kind % 7}/Bird_{kind}_{image}.jpg": picture(
            colour(kind + image), 6
        )
        for kind in range(1, kinds + 1)
        for image in range(2)
    }
    return found | {"CUB_200_2011/images.txt": b"1 001.Bird/x.jpg", "attributes.txt": b""}


@pytest.mark.parametrize("place", ["cub/CUB_200_2011.tgz", "cub"])
def test_kinds_are_split_by_their_numbers(root, place):
    (root / "cub").mkdir()
    write(root / place, contents())
    stores = {split: load("cub", split, root=root, size=6) for split in SPLITS}
    assert [len(store.names) for store in stores.values()] == [100, 50, 50]
    firsts = {split: [int(name[:3]) for name in store.names[:3]] for split, store in stores.items()}
    assert firsts == {"train": [1, 3, 5], "validation": [2, 6, 10], "test": [4, 8, 12]}
    for store in stores.values():
        expected = [(name, int(name[:3]) + image) for name in store.names for image in range(2)]
        assert reds(store) == expected


def test_an_archive_that_is_not_whole(root):
    write(root / "CUB_200_2011.tgz", contents(150))
    with pytest.raises(ValueError, match=r"CUB_200_2011\.tgz is broken .*it has 150 of 200 kinds"):
        load("cub", "test", root=root)
