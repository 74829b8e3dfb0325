"""Small data sets on disk, for tests of what reads them."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image


def picture(value, size=10, kind="PNG", mode="RGB"):
    """An image file of one colour, as bytes."""
    file = io.BytesIO()
    Image.new(mode, (size, size), value).save(file, kind)
    return file.getvalue()


def colour(number):
    """Told apart after any resizing: red is the number, green its complement."""
    return number, 255 - number, 7


def write(place, contents):
    """Files by name, as a folder, or as an archive by the ending of the place's name."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    elif place.suffix in (".tgz", ".gz", ".tar"):
        with tarfile.open(place, "w" if place.suffix == ".tar" else "w:gz") as archive:
            for name, content in contents.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    else:
        for name, content in contents.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    return place


def reds(store):
    """The first channel of every image, which must be of one colour, with its class."""
    images = store.images.flatten(2).numpy()
    assert np.all(images == images[:, :, :1])
    labels = np.repeat(np.array(store.names), store.sizes.numpy())
    return sorted(zip(labels.tolist(), images[:, 0, 0].tolist(), strict=True))
