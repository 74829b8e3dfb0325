"""Matches of sumo that are decided as a test wants it."""

from metarl.envs.sumo import RoboSumo


def off_the_mat(monkeypatch, side):
    """Let a side stand far off the mat whenever a match begins, so that it loses in the first step."""
    begin = RoboSumo.begin

    def begun(self, ids, rngs):
        begin(self, ids, rngs)
        self._qpos[side][ids, :2] = 9.0

    monkeypatch.setattr(RoboSumo, "begin", begun)
