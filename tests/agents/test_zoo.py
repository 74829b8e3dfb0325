from pathlib import Path

import numpy as np
import pytest

import metarl
from metarl.agents.zoo import ZOO, pretrained


@pytest.mark.parametrize("name", ZOO)
def test_every_agent_of_the_zoo_opens_from_a_copy(name, tmp_path):
    run = pretrained(name, tmp_path)
    assert run.path == tmp_path / name
    assert run.run.info["reason"] == "finished"
    agent = run.agent
    size = agent.module.normalizer.mean.shape[0]
    action, _ = agent.predict(np.zeros(size), deterministic=True)
    assert len(action) > 0
    kept = Path(metarl.agents.zoo.__file__).parent / name
    run.run.note(seen=True)
    assert "seen" not in (kept / "run.json").read_text()
    assert "seen" in pretrained(name, tmp_path).run.info


def test_the_cheetah_finds_out_which_way_to_run(tmp_path):
    found = metarl.pretrained("cheetah-dir", tmp_path).evaluate(inner_steps=1, repeats=2)
    before, after = found.scores.mean(0).T
    assert (after - before > 50).all()
    assert (after > 100).all()


def test_an_unknown_agent_brings_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cheetah-dir'"):
        metarl.pretrained("cheeta-dir")
