import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from metarl.supervised.datasets.downloads import fetch, located

CONTENT = bytes(range(256)) * 500
RIGHT = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        if self.path == "/none":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if self.path == "/cut" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("localhost", 0), Handler)
    server.asked = 0
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server, name):
    return f"http://localhost:{server.server_port}/{name}"


@pytest.mark.parametrize("checksum", [RIGHT, None])
def test_a_file_is_fetched_once(server, tmp_path, checksum):
    path = tmp_path / "new" / "file.zip"
    for _ in range(2):
        assert fetch(address(server, "file"), path, checksum) == path
    assert path.read_bytes() == CONTENT
    assert server.asked == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "checksum", "why"),
    [("none", RIGHT, "404"), ("cut", None, ""), ("cut", RIGHT, ""), ("file", "md5:" + "0" * 32, "hash")],
)
def test_nothing_is_left_of_what_failed(server, tmp_path, name, checksum, why):
    path = tmp_path / "file.zip"
    expected = (
        rf"file\.zip could not be fetched \(.*{why}.*\): try again, or put http.*/{name} there yourself"
    )
    with pytest.raises(ValueError, match=f"(?s){expected}"):
        fetch(address(server, name), path, checksum)
    assert not list(tmp_path.iterdir())


def test_no_server(tmp_path):
    with pytest.raises(ValueError, match=r"file\.zip could not be fetched"):
        fetch("http://localhost:1/file", tmp_path / "file.zip")


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ValueError, match=r"file\.zip could not be fetched"):
        fetch(address(server, "file"), tmp_path / "data" / "file.zip")


def test_fetching_may_be_forbidden_and_needs_pooch(server, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"file\.zip is missing and may not be fetched: put http"):
        fetch(address(server, "file"), tmp_path / "file.zip", allowed=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ValueError, match=r"pip install 'metarl-suite\[images\]'; or put http"):
        fetch(address(server, "file"), tmp_path / "file.zip")
    assert server.asked == 0


def test_files_lie_in_a_folder_of_their_own_or_not(tmp_path):
    assert located(tmp_path, "birds", ("a", "b")) is None
    (tmp_path / "b").write_text("")
    assert located(tmp_path, "birds", ("a", "b")) == tmp_path / "b"
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "b").write_text("")
    assert located(tmp_path, "birds", ("a", "b")) == tmp_path / "birds" / "b"
    (tmp_path / "a").write_text("")
    assert located(tmp_path, "birds", ("a", "b")) == tmp_path / "a"
