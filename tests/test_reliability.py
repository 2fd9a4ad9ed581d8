"""The drills of `python -m ppo.drill`, and two equal runs. Real processes, really killed."""

import pytest

from ppo import drill


@pytest.mark.parametrize(("name", "scenario"), drill.DRILLS, ids=[name for name, _ in drill.DRILLS])
def test_drill(name, scenario, tmp_path):
    scenario(tmp_path)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_equal_runs_have_equal_fingerprints(threads, tmp_path):
    settings = drill.SHORT_CART_POLE | {"threads": threads}
    for name in ("first", "second"):
        code, output = drill.run(tmp_path / name, settings)
        assert code == 0, output
    assert drill.fingerprint(tmp_path / "first") == drill.fingerprint(tmp_path / "second")


def test_a_fingerprint_tells_runs_apart(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        assert drill.run(tmp_path / name, drill.SHORT_CART_POLE | {"seed": seed})[0] == 0
    assert drill.fingerprint(tmp_path / "first") != drill.fingerprint(tmp_path / "second")


def test_a_path_with_spaces_and_other_alphabets(tmp_path):
    logdir = tmp_path / "läufe und 走る" / "ein lauf"
    logdir.parent.mkdir()
    code, output = drill.run(logdir, drill.SHORT_CART_POLE)
    assert code == 0, output
    assert drill.run(logdir, None)[0] == 0
