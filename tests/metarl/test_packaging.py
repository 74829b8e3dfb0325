import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "metarl": "metarl",
    "envs": "metarl/envs",
    "agents": "metarl/agents",
    "supervised": "metarl/supervised",
}


def source_files(folder):
    """Every file of a folder that belongs in the wheel, links not followed."""
    for path in sorted((ROOT / folder).rglob("*")):
        relative = path.relative_to(ROOT / folder)
        through_link = any((ROOT / folder / part).is_symlink() for part in relative.parts[:1])
        if path.is_file() and not through_link and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield relative


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in a wheel that was built from a copy, so that no stale build folder can help."""
    pytest.importorskip("setuptools")
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in (*FOLDERS, "tests"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignore)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_of_the_folder_is_in_the_wheel(wheel, folder):
    expected = {f"{FOLDERS[folder]}/{path.as_posix()}" for path in source_files(folder)}
    assert expected
    assert not expected - wheel


def test_nothing_else_is_in_the_wheel(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert tops - {"metarl"} == {top for top in tops if re.fullmatch(r"metarl_suite-.*\.dist-info", top)}
    assert not [name for name in wheel if re.search(r"(^|/)tests?(/|_)", name.lower())]


def test_the_links_beside_the_packages_are_there():
    for name in ("envs", "agents", "supervised"):
        assert (ROOT / "metarl" / name).resolve() == ROOT / name


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(each for name in extras for each in extras[name])]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {normal(line.partition("==")[0]) for line in lines if re.fullmatch(r"[\w.-]+==[\w.]+", line)}
    assert len(pinned) == len(lines)
    assert not {normal(re.match(r"[\w-]+", each)[0]) for each in wanted} - pinned


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_readme_never_installs_the_other_metarl():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.search(r"pip install ['\"]?metarl(?!-suite)", page.read_text()), page
