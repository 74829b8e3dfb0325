"""Every command in the README and the documentation is one that `metarl` understands."""

import re
import shlex
from contextlib import suppress
from pathlib import Path

import pytest
import tyro

from metarl import cli
from metarl.commands.flags import world_id
from metarl.configs import write_json

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem != "results"),
]
"""Those of the results were given by the versions that they name."""
BLOCK = re.compile(r"```(?:bash|console)\n(.*?)```", re.DOTALL)


def commands():
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words[:1] == ["metarl"]:
                    yield pytest.param(words[1:], id=f"{page.stem}: {' '.join(words)}")


class Understood(Exception):
    """A command's flags were read, and it would now begin."""


def test_commands_are_found():
    assert len(list(commands())) > 30


@pytest.mark.parametrize("words", list(commands()))
def test_is_understood(words, monkeypatch, tmp_path):
    read = tyro.cli

    def understand(*args, **kwargs):
        read(*args, **kwargs)
        raise Understood

    monkeypatch.setattr(tyro, "cli", understand)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "RUN").mkdir()
    write_json(
        tmp_path / "RUN" / "config.json",
        {"agent": "promp", "experiment": {"world": "metarl/CheetahDir-v0"}, "config": {}},
    )
    if "--world" in words:
        world_id(words[words.index("--world") + 1])
    with suppress(Understood):
        assert cli._run(words) == 0  # what has no flags, and only lists
