import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from metarl.supervised.datasets import safe_pickle

PYTHON_2 = (
    b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x03\x01\x02\xfftbU\x06labels]K\x05au."
)
"""{'data': array([1, 2, 255], uint8), 'labels': [5]} as Python 2 wrote it."""


def read(content):
    return safe_pickle.load(io.BytesIO(content), "some.pkl")


class Asks:
    def __init__(self, call, *arguments):
        self.asked = call, arguments

    def __reduce__(self):
        return self.asked


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_data_are_read(protocol):
    data = {
        "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "columns": np.arange(6.0).reshape(2, 3).T,
        "turned": np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1),
        "names": ["a", "é"],
        "rows": OrderedDict(a=[np.int64(3)]),
        "png": b"\x89\xff",
        "mixed": np.array([1, "x"], dtype=object),
    }
    found = read(pickle.dumps(data, protocol))
    assert found["rows"] == data["rows"]
    assert (found["names"], found["png"]) == (data["names"], data["png"])
    for name in ("images", "columns", "turned", "mixed"):
        assert found[name].dtype == data[name].dtype
        assert np.array_equal(found[name], data[name])


def test_what_python_2_wrote_is_read():
    found = read(PYTHON_2)
    assert found["data"].tolist() == [1, 2, 255]
    assert found["labels"] == [5]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: {"data": [x]}, lambda x: np.array([x], dtype=object)]
)
def test_code_is_refused_and_not_run(tmp_path, protocol, wrap):
    target = tmp_path / "made"
    content = pickle.dumps(wrap(Asks(os.mkdir, str(target))), protocol)
    with pytest.raises(
        ValueError, match=r"some\.pkl asks for '.*', which no data need .* nothing of it was run"
    ):
        read(content)
    assert not target.exists()
    pickle.loads(content)
    assert target.exists()  # it would have run


@pytest.mark.parametrize("call", [eval, getattr, __import__, np.load, np.fromfile])
def test_any_other_name_is_refused(call):
    with pytest.raises(ValueError, match="asks for"):
        read(pickle.dumps(Asks(call, "x")))


def test_arrays_of_another_kind_and_other_encodings_are_refused():
    with pytest.raises(ValueError, match="asks for"):
        read(pickle.dumps(np.ma.masked_array([1])))
    encoding = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    assert pickle.loads(encoding) == "n"
    with pytest.raises(ValueError, match="asks for 'text in rot13'"):
        read(encoding)


class Built:
    """Pickled as a call and what it is then told of its state."""

    def __init__(self, call, arguments, *state):
        self.asked = call, arguments, *state

    def __reduce__(self):
        return self.asked


def array(kind, content, shape=(1,)):
    state = (1, shape, kind, False, content)
    return Built(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state)


ADDRESS = b"\x41" * 8
OBJECTS = np.dtype("O")
HIDDEN = Built(np.dtype, ("V8", False, True), (3, "|", None, ("f0",), {"f0": (OBJECTS, 0)}, 8, 1, 0))
"""Objects in a type that says it has none."""
DISGUISED = Built(np.dtype, ("i8", False, True), (3, "<", None, ("f0",), {"f0": (OBJECTS, 0)}, 8, 1, 0))
LONG = Built(np.dtype, ("i1", False, True), (3, "|", None, None, None, 800, 1, 0))


@pytest.mark.parametrize(
    "attack",
    [
        HIDDEN,
        DISGUISED,
        array(HIDDEN, ADDRESS),
        array(OBJECTS, ADDRESS),
        array(OBJECTS, [1], shape=(1000,)),
        array(np.dtype("i8"), ADDRESS, shape=(1000,)),
        array(np.dtype("i8"), ADDRESS, shape=(-1, -1)),
        array(np.dtype("i8"), b"", shape=(2**32, 2**32)),
        array(LONG, ADDRESS),
        Built(np.ndarray, ((1,), OBJECTS, ADDRESS)),
        Built(np._core.multiarray.scalar, (HIDDEN, ADDRESS)),
        Built(np._core.numeric._frombuffer, (array(np.dtype("u1"), b"12", (2,)), np.dtype("u1"), (2,), "C")),
    ],
)
def test_bytes_are_never_taken_for_objects(attack):
    with pytest.raises(ValueError, match=r"some\.pkl asks for '.*nothing of it was run"):
        read(pickle.dumps([attack], 2))


def test_scalars_and_orders_of_bytes():
    data = [np.float32(0.5), np.str_("bird"), np.arange(3, dtype=">i4"), np.array(["a", "bc"])]
    for protocol in (2, 5):
        found = read(pickle.dumps(data, protocol))
        assert found[:2] == data[:2]
        assert [each.tolist() for each in found[2:]] == [[0, 1, 2], ["a", "bc"]]


@pytest.mark.parametrize("end", [0, 1, 40, -1])
def test_a_broken_pickle_is_named_with_the_way_out(end):
    with pytest.raises(ValueError, match=r"some\.pkl is broken .* delete it"):
        read(pickle.dumps({"data": np.zeros(300)})[:end])
