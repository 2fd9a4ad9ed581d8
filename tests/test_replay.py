import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ppo.envs.episode import Rules
from ppo.replay.replay import Replay, ReplayError, frames, load, play, save, verify
from ppo.system.signals import Interrupted
from tests.rules import in_time, played, rules_for

BERZERK = rules_for("berzerk")  # short games, points early on


@dataclass(frozen=True)
class Case:
    """Which game to take: one with points, and after how many others."""

    rules: Rules
    games_before: int = 0


CASES = {
    "ends by itself": Case(BERZERK),
    "sticky": Case(replace(BERZERK, sticky_action_probability=0.25)),
    "after resets": Case(replace(BERZERK, max_frames_per_game=400), games_before=2),
    # Limits that cut a step short.
    "time limit": Case(replace(BERZERK, max_frames_per_game=403)),
    "sticky, time limit, after others": Case(
        replace(BERZERK, sticky_action_probability=0.25, max_frames_per_game=401), games_before=1
    ),
    "other rules": Case(
        replace(
            BERZERK,
            frame_skip=7,
            noop_max=1,
            fire_on_reset=False,
            full_action_space=True,
            max_frames_per_game=500,
        )
    ),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def any_replay(request: pytest.FixtureRequest) -> Replay:
    case = request.param
    return Replay.from_episode(played(case.rules, case.games_before), case.rules)


@pytest.fixture(scope="module")
def replay() -> Replay:
    """A game that ends by a time limit in the midst of a step, after two others."""
    rules = replace(BERZERK, max_frames_per_game=123)
    return Replay.from_episode(played(rules, 2), rules, step=1000, policy="sampled")


def changed(replay: Replay, **changes) -> Replay:
    return Replay.model_validate(replay.model_dump() | changes)


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def see(replay: Replay) -> int:
    return sum(1 for _ in frames(replay))


BOTH = [play, see]


# A game as a file


def test_a_saved_game_is_loaded_and_played_again_to_its_score(any_replay: Replay, tmp_path: Path):
    save(tmp_path / "game.json", any_replay)
    loaded = load(tmp_path / "game.json")
    assert loaded == any_replay
    game = play(loaded)
    assert (game.score, game.steps, game.frames) == (loaded.score, loaded.steps, loaded.frames)
    assert game.actions.tolist() == loaded.actions
    assert (game.reset.seed, game.reset.resets) == (loaded.seed, loaded.resets)


def test_the_cases_are_what_they_are_meant_to_be(any_replay: Replay, request):
    kind = request.node.callspec.id
    assert any_replay.score > 0
    assert (any_replay.resets > 0) == (kind == "after resets")
    limited = any_replay.frames == any_replay.max_frames_per_game
    assert limited == (kind not in ("ends by itself", "sticky"))
    if "time limit" in kind:
        assert any_replay.frames % any_replay.frame_skip


def test_a_replay_is_a_small_json_file_with_the_promised_keys(replay: Replay, tmp_path: Path):
    save(tmp_path / "game.json", replay)
    written = json.loads((tmp_path / "game.json").read_text())
    assert set(written) == {
        *("game", "seed", "resets", "actions", "frame_skip", "sticky_action_probability"),
        *("noop_max", "fire_on_reset", "full_action_space", "max_frames_per_game"),
        *("score", "steps", "frames", "step", "policy"),
        *("frame_stack", "screen_size", "last_observation"),
    }
    assert written["game"] == "berzerk" and written["resets"] >= 2
    assert len(written["actions"]) == written["steps"] == 31 and written["frames"] == 123
    assert [path.name for path in tmp_path.iterdir()] == ["game.json"]


def test_keys_that_it_does_not_know_are_kept(replay: Replay, tmp_path: Path):
    save(tmp_path / "game.json", changed(replay, note="lucky"))
    assert load(tmp_path / "game.json").model_extra["note"] == "lucky"


# A game to see


def test_a_game_has_as_many_images_as_frames_and_gives_its_score(any_replay: Replay):
    # That the score agrees is seen to inside; see the test of wrong scores.
    shown = [frame.image for frame in frames(any_replay)]
    assert len(shown) == any_replay.frames
    assert {(picture.shape, str(picture.dtype)) for picture in shown} == {((210, 160, 3), "uint8")}
    assert len({picture.tobytes() for picture in shown}) > 50


def test_the_images_show_the_game_to_its_end(replay: Replay):
    longer = changed(replay, max_frames_per_game=1000, frames=1000)
    *shown, last = (frame.image for frame in frames(replay))
    *going_on, true_last = (frame.image for frame in islice(frames(longer), replay.frames))
    np.testing.assert_array_equal(shown, going_on)
    # ale-py leaves out the very last frame and shows the one before it again; the next game's
    # first picture, which it shows too, is far off.
    assert (last != true_last).mean() < 0.005 < (last != shown[0]).mean()


def test_images_are_made_only_when_asked_for(replay: Replay):
    endless = changed(replay, actions=[0] * 10**6, frames=4 * 10**6, max_frames_per_game=10**7)
    assert len(list(in_time(lambda: list(islice(frames(endless), 5))))) == 5


# Files that are no replay


def refused(path: Path) -> str:
    with pytest.raises(ReplayError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is no replay: ") and "\n" not in message
    return message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "game.json")
    assert "not a regular file" in refused(tmp_path / "game.json")


@pytest.mark.parametrize(
    "key", sorted(n for n, f in Replay.model_fields.items() if f.is_required())
)
def test_a_missing_key_is_refused_by_its_name(replay: Replay, tmp_path: Path, key: str):
    content = replay.model_dump()
    del content[key]
    assert key in refused(write(tmp_path / "game.json", content))


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("game", 7),
        ("seed", "1"),
        ("seed", 1.5),
        ("seed", True),
        ("seed", -1),
        ("seed", 2**31),
        ("resets", -1),
        ("resets", 10**9),
        ("actions", "0123"),
        ("actions", []),
        ("actions", [0, -1]),
        ("actions", [0, 1.5]),
        ("actions", [0, None]),
        ("frame_skip", 0),
        ("sticky_action_probability", 1.0),
        ("sticky_action_probability", -0.1),
        ("noop_max", 0),
        ("noop_max", 1001),
        ("resets", 1001),
        ("fire_on_reset", 1),
        ("full_action_space", "no"),
        ("max_frames_per_game", None),
        ("score", "21"),
        ("steps", "31"),
        ("frames", 0.5),
    ],
)
def test_a_wrong_type_or_range_is_refused_by_its_key(
    replay: Replay, tmp_path: Path, key: str, bad: object
):
    path = write(tmp_path / "game.json", replay.model_dump() | {key: bad})
    assert key in refused(path)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", '"pong"', "{}", "{,}", "[" * 100_000])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str):
    refused(write(tmp_path / "game.json", text))


def test_a_file_cut_off_anywhere_is_refused(replay: Replay, tmp_path: Path):
    text = json.dumps(replay.model_dump())
    for length in range(0, len(text), 25):
        refused(write(tmp_path / "game.json", text[:length]))


def test_a_binary_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    (tmp_path / "game.json").write_bytes(bytes(range(256)))
    refused(tmp_path / "game.json")
    refused(tmp_path / "nothing.json")
    refused(tmp_path)


# Games that do not go as the file says


def assert_refused(work: Callable, message: str) -> None:
    """With the message, which is a pattern, in one line."""
    with pytest.raises(ReplayError, match=message) as caught:
        in_time(work)
    assert "\n" not in str(caught.value)


# What differs from a replay of 31 actions and 123 frames, who notices it, and what is said.
DIFFERENT = {
    "first action unknown": (BOTH, lambda r: {"actions": [18, *r.actions[1:]]}, "action 18 .* 18"),
    "last action unknown": (BOTH, lambda r: {"actions": [*r.actions[:-1], 18]}, "action 18 .* 18"),
    "huge action": (BOTH, lambda r: {"actions": [*r.actions[:-1], 10**30]}, "action 10+ is out of"),
    "action of the full set": (BOTH, lambda r: {"game": "pong", "actions": [6]}, "action 6 .* 6"),
    "action too few": (BOTH, lambda r: {"actions": r.actions[:-1]}, "continues"),
    "action too many, played": ([play], lambda r: {"actions": [*r.actions, 0]}, "after 31 of"),
    "action too many, seen": ([see], lambda r: {"actions": [*r.actions, 0]}, "not .* and 32"),
    "cut between two steps": (
        BOTH,
        lambda r: {"actions": r.actions[:-1], "steps": 30, "frames": 120},
        "continues",
    ),
    "lower score": ([see], lambda r: {"score": r.score - 10}, "gave 50 points in 123 frames"),
    "higher score": ([see], lambda r: {"score": r.score + 0.5}, "gave 50 points in 123 frames"),
    "no score": ([see], lambda r: {"score": float("nan")}, "gave 50 points in 123 frames"),
    "frame too few": ([see], lambda r: {"frames": 122}, "in 123 frames .* in 122"),
    "frame too many": ([see], lambda r: {"frames": 124}, "in 123 frames .* in 124"),
    "shorter limit": (BOTH, lambda r: {"max_frames_per_game": 100}, "after 25 of|in 100 frames"),
    "longer limit": (BOTH, lambda r: {"max_frames_per_game": 200}, "continues"),
    "unknown game": (BOTH, lambda r: {"game": "no_such_game"}, "cannot be (played|shown)"),
    "no game": (BOTH, lambda r: {"game": ""}, "cannot be (played|shown)"),
    "game for several players": (BOTH, lambda r: {"game": "combat"}, "several players"),
    "huge limit": (BOTH, lambda r: {"max_frames_per_game": 2**31}, "cannot be played"),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for name, (forms, *_) in DIFFERENT.items() for form in forms],
)
def test_a_game_that_differs_from_its_file_is_refused(replay: Replay, name: str, form: Callable):
    _, change, message = DIFFERENT[name]
    assert_refused(lambda: form(changed(replay, **change(replay))), message)


def test_playing_a_game_with_a_wrong_score_gives_the_true_one(replay: Replay):
    assert play(changed(replay, score=replay.score + 1)).score == replay.score


def test_a_replay_that_shows_something_else_at_its_end_is_noticed(replay: Replay):
    verify(replay)
    assert_refused(
        lambda: verify(changed(replay, last_observation=1 ^ replay.last_observation)),
        "last_observation",
    )
    verify(changed(replay, last_observation=None))  # as in files of before


def test_playing_again_can_be_interrupted(replay: Replay):
    with pytest.raises(Interrupted):
        play(replay, lambda: True)


def test_a_game_without_an_image_is_played_but_not_seen(monkeypatch):
    rules = replace(BERZERK, game="CartPole-v1")
    replay = Replay.from_episode(played(rules, 3), rules)
    game = play(replay)
    assert (game.score, game.steps, game.frames) == (replay.score, replay.steps, replay.frames)
    monkeypatch.setitem(sys.modules, "pygame", None)  # as if it were not installed
    assert_refused(lambda: see(replay), "CartPole-v1 cannot be shown: .*pygame")
