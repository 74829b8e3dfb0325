"""Wrestlers that come with the package: of each body some versions, in the order of their strength."""

from pathlib import Path

from metarl.configs import read_json

ZOO_FOLDER = Path(__file__).parent
"""Where they lie: a pool, as :mod:`metarl.envs.opponent_tasks` describes it."""


GAIT_NAMES = {"gait-ant": "on four legs", "gait-bug": "on six", "gait-spider": "on eight"}
"""Those of `metarl.envs.gaits`, which is not imported here: it needs MuJoCo."""


def zoo_wrestlers() -> dict[str, str]:
    """The wrestlers that come with the package, and what each is, in one line."""
    found = {}
    for folder in sorted({path.parent for path in ZOO_FOLDER.glob("*/v*.json")}):
        files = sorted(folder.glob("v*.json"))
        newest = read_json(files[-1])
        wins = ", ".join(f"{100 * each['wins']:.0f} % of {other}" for other, each in newest["scores"].items())
        found[folder.name] = (
            f"wrestler, versions {int(files[0].stem[1:])} to {int(files[-1].stem[1:])}, "
            f"{newest['steps']:,} steps; the newest beats {wins}"
        )
    return found | {name: f"wrestler that walks by hand, {what}" for name, what in GAIT_NAMES.items()}
