"""What the guard knows of a policy that it continues from: by its run's guard, games and log."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ppo.checkpoint import Checkpoint, TrainerFacts
from ppo.envs.registry import resolved
from ppo.files import origin
from ppo.files.folder import RunFolder
from ppo.files.origin import Origin
from ppo.runs.level import GuardState, with_known_level
from ppo.runs.start import RunState
from ppo.settings import Params, ResolvedParams
from ppo.telemetry.collapse import Watch
from ppo.telemetry.counters import Tally

SETTINGS = resolved(Params(env_id="Pong", num_envs=4, num_steps=32, seed=1, threads=1))
GAMES = ((21.0, 2000), (19.0, 2000))  # 0.01 points a step
SEEN = GuardState(watch=Watch((0.2, 0.3, 0.1) * 5, 0.4, -0.1, evidence=2.0), quiet=3, warned=True)
CLIMB = [-0.02] * 10 + [0.02] * 10


def saved(guard: GuardState = GuardState(), games=GAMES, **settings) -> Checkpoint:  # noqa: B008
    params = SETTINGS.model_copy(update=settings).model_dump()
    mode = settings.get("collapse_guard")
    made = Checkpoint(1000, {}, TrainerFacts(tally=Tally(recent=games)))
    made = made.with_part("guard", guard.model_copy(update={"mode": mode}))
    return made.with_part("run", RunState(params=params))


def known(run: Path, at: Checkpoint, **settings) -> GuardState:
    now = ResolvedParams(**SETTINGS.model_dump() | settings)
    guard = with_known_level(at, run, now).part("guard", GuardState)
    return guard.model_copy(update={"mode": None})


def logged(run: Path, points, columns: str = "rollout/points_per_step") -> Path:
    run.mkdir()
    rows = [f"{50 * number},{value}" for number, value in enumerate(points, 1)]
    (run / "progress.csv").write_text("\n".join([f"step,{columns}", *rows, ""]))
    return run


def test_what_the_guard_of_the_run_knew_is_known(tmp_path):
    assert known(tmp_path, saved(SEEN)) == SEEN
    assert known(tmp_path, saved(SEEN), clip_rewards=False, learning_rate=1e-5) == SEEN
    factory = saved(SEEN, env_id="factory/Walk-v0")
    assert known(tmp_path, factory, env_id="factory/Walk-1-v0") == SEEN


def test_a_run_that_knows_no_level_yet_begins_as_before(tmp_path):
    begun = GuardState(watch=Watch(recent=(0.1, 0.2)), quiet=2)
    assert known(tmp_path, saved(begun, games=())) == begun
    assert known(tmp_path / "gone", saved(games=())) == GuardState()


def test_a_guard_that_restored_the_initial_policy_knows_no_level_of_the_collapsed_one(tmp_path):
    restored = GuardState(kept={"healthy": Watch()})
    assert known(logged(tmp_path / "run", CLIMB), saved(restored)) == restored


@pytest.mark.parametrize(
    ("change", "times"), [({"num_steps": 8}, 2), ({"num_envs": 16}, 0.5), ({"workers": 4}, 0.5)]
)
def test_readings_of_smaller_rollouts_are_noisier(change, times, tmp_path):
    kept = {"healthy": Watch(recent=(0.0, 0.2) * 5, best=0.1, low=0.0)}
    guard = known(tmp_path, saved(SEEN.model_copy(update={"kept": kept})), **change)
    assert guard.watch.recent == pytest.approx([0.2 + times * (x - 0.2) for x in SEEN.watch.recent])
    assert guard.kept["healthy"].recent == pytest.approx([0.0, 0.2 * times] * 5, abs=0.2)
    assert replace(guard.watch, recent=SEEN.watch.recent) == SEEN.watch


@pytest.mark.parametrize("stale", [{"collapse_guard": "off"}, {}])
def test_a_run_that_was_not_watched_is_known_by_its_games_and_its_log(stale, tmp_path):
    guard = known(logged(tmp_path / "run", CLIMB), saved(SEEN if stale else GuardState(), **stale))
    assert guard == GuardState(watch=Watch(best=0.01, low=-0.02))


def test_the_log_counts_up_to_the_step_and_the_lower_level_counts(tmp_path):
    run = logged(tmp_path / "run", CLIMB + [0.001] * 30)
    assert known(run, saved()).watch.best == 0.01
    fallen = logged(tmp_path / "fallen", [0.02] * 10 + [0.001] * 10)
    assert known(fallen, saved()) == GuardState(watch=Watch(best=0.001, low=0.001))


def test_a_run_of_before_points_were_logged_has_its_scores(tmp_path):
    columns = "rollout/ep_rew_mean,rollout/ep_len_mean"
    run = logged(tmp_path / "run", ["-20,1000"] * 10 + ["20,1000"] * 10, columns)
    assert known(run, saved()) == GuardState(watch=Watch(best=0.01, low=-0.02))


@pytest.mark.parametrize("content", [None, "", "step\n", "no log", "step,a\n1,b\n", "step\nnan\n"])
def test_without_a_log_the_games_are_known(content, tmp_path):
    if content is not None:
        (tmp_path / "progress.csv").write_text(content)
    assert known(tmp_path, saved()) == GuardState(watch=Watch(best=0.01, low=0.01))


def test_the_log_continues_backwards_in_the_original_run_of_a_fork(tmp_path):
    first = logged(tmp_path / "first", CLIMB[:10] + [9.0] * 10)
    second = logged(tmp_path / "second", [])
    origin.write(RunFolder(second), Origin(first, 500, {"gamma": (0.9, 0.8)}))
    assert known(second, saved()) == GuardState(watch=Watch(best=-0.02, low=-0.02))
    origin.write(RunFolder(second), Origin(first, 500, {"frame_skip": (4, 2)}))
    assert known(second, saved()) == GuardState(watch=Watch(best=0.01, low=0.01))


def test_a_run_that_names_itself_as_its_origin_ends_the_log(tmp_path):
    run = logged(tmp_path / "run", CLIMB)
    origin.write(RunFolder(run), Origin(run, 500, {}))
    assert known(run, saved()).watch.best == 0.01
    shutil.rmtree(run)
    (tmp_path / "run").write_text("a file")
    assert known(run, saved()).watch.best == 0.01


@pytest.mark.parametrize(
    "change",
    [{"frame_skip": 2}, {"sticky_action_probability": 0.1}, {"picture_scaling": "standardized"}],
)
def test_only_the_lowest_level_is_known_of_a_policy_that_will_play_differently(change, tmp_path):
    guard = known(tmp_path, saved(SEEN), **change)
    assert guard == GuardState(watch=Watch(low=SEEN.watch.low)) and guard.watch.knows_nothing
