import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Folder of the data sets, with a folder of decoded images of its own."""
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"
