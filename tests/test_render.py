"""Videos of replays: every frame accounted for, every point shown."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest

from ppo.envs.episode import Reset
from ppo.envs.screens import Frame
from ppo.envs.vector import EnvVector
from ppo.evaluate import film
from ppo.files import origin
from ppo.files.folder import FolderError, RunFolder
from ppo.files.origin import Origin
from ppo.replay import panel, render
from ppo.replay.panel import Panel
from ppo.replay.render import Course, annotated, plain, record
from ppo.replay.replay import Replay, ReplayError, frames, save
from tests.pixel_game import CELL, SIZE
from tests.rules import played, rules_for

BERZERK = rules_for("berzerk", max_frames_per_game=123)  # the limit cuts a step short
CATCH = replace(BERZERK, game="tests.pixel_game:Catch-v0")


@dataclass
class Uniform:
    """A policy that holds every action equally good, and remembers what it was shown."""

    num_actions: int
    choice: str = "sampled"
    seen: int = 0

    def probabilities_and_values(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.seen += 1
        return np.full((1, self.num_actions), 1 / self.num_actions), np.array([self.seen / 100])


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay.from_episode(played(BERZERK), BERZERK, step=1000, policy="sampled")


@pytest.fixture(scope="module")
def catch() -> Replay:
    return Replay.from_episode(played(CATCH), CATCH, step=7, policy="greedy")


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    made: list[Panel] = []

    def noted(*arguments) -> Panel:
        made.append(Panel(*arguments))
        return made[-1]

    monkeypatch.setattr(render, "Panel", noted)
    return made


def decoded(path: Path) -> tuple[dict, Iterator[np.ndarray]]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, (np.frombuffer(raw, np.uint8).reshape(height, width, 3) for raw in reader)


@pytest.mark.parametrize("with_panel", [False, True])
def test_decoded_images_are_the_frames_played_and_the_held_end(replay, tmp_path, with_panel):
    policy = Uniform(18) if with_panel else None
    count = record(replay, tmp_path / "game.mp4", Course(replay), policy)
    assert count == replay.frames + 120 == 243
    meta, pictures = decoded(tmp_path / "game.mp4")
    assert meta["fps"] == 60
    assert meta["size"] == ((640 + 720, 840) if with_panel else (640, 840))
    for frame in frames(replay):
        last = next(pictures)
        assert np.abs(last[2::4, 2:640:4].astype(int) - frame.image).mean() < 6
    first, *held = (picture[::5, ::5].astype(np.int16) for picture in pictures)
    assert len(held) == 119
    assert max(np.abs(picture - first).max() for picture in held) < 12
    assert np.abs(first - last[::5, ::5]).max() > 100  # the score across the picture


def test_the_panel_adds_the_rewards_up_to_the_score(replay, panels):
    assert sum(1 for _ in annotated(replay, Uniform(18), Course(replay))) == replay.frames + 120
    (shown,) = panels
    assert shown._score == replay.score > 0


def test_the_network_decides_once_a_step_of_what_it_saw_when_it_played(replay, monkeypatch):
    shown: list[tuple] = []
    monkeypatch.setattr(Panel, "decide", lambda self, *decision: shown.append(decision))
    policy = Uniform(18)
    sum(1 for _ in annotated(replay, policy, Course(replay)))
    assert policy.seen == len(shown) == replay.steps
    assert [action for _, action, *_ in shown] == replay.actions
    vector = EnvVector(BERZERK, num_envs=1, threads=1)
    vector.begin_as([Reset(replay.seed, replay.resets)])
    for observation, action, *_ in shown:
        np.testing.assert_array_equal(observation, vector.observations[0])
        vector.send(np.array([action]))
        vector.receive()
    vector.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> int:
    """Frames until a game is quiet, in games of more than a second."""
    monkeypatch.setattr(render, "WHOLE_SECONDS", 1)
    monkeypatch.setattr(render, "QUIET_SECONDS", 0.1)
    return 6


@pytest.mark.parametrize("with_panel", [False, True])
def test_quiet_stretches_of_a_long_game_are_left_out(impatient, panels, with_panel):
    rules = replace(BERZERK, max_frames_per_game=1203)
    replay = Replay.from_episode(played(rules), rules)
    quiet, lives, shown, gaps, steps, watched = 0, 0, [], 0, set(), []
    for number, frame in enumerate(frames(replay)):
        quiet = 0 if frame.reward or frame.lives < lives else quiet + 1
        lives = frame.lives
        if quiet <= impatient or frame.over:
            gaps += bool(shown) and shown[-1] < number - 1
            shown.append(number)
            steps.add(number // 4)
    policy, its = Uniform(18), Course(replay, watched.append)
    pictures = annotated(replay, policy, its) if with_panel else plain(replay, its)
    count = sum(1 for _ in pictures)
    assert gaps > 1 and count == len(shown) + 120 * gaps + 120
    assert its.gaps.startswith(f"The video leaves out {round((replay.frames - len(shown)) / 60)} s")
    assert watched == [*range(1, replay.frames + 1)]
    if with_panel:
        assert policy.seen == len(steps) < replay.steps
        assert panels[0]._score == replay.score > 0
        assert panels[0]._step == replay.steps - 1


def test_stalled_game_is_cut_with_a_message(monkeypatch):
    monkeypatch.setattr(render, "WHOLE_SECONDS", 1)
    monkeypatch.setattr(render, "QUIET_SECONDS", 2)
    rules = replace(rules_for("breakout", max_frames_per_game=1_200), fire_on_reset=False)
    episode = played(rules, action=0)
    game = Replay.from_episode(episode, rules)
    its = Course(game)
    pictures = [picture[::4, ::4].copy() for picture in plain(game, its)]
    assert len(pictures) == 120 + 120 + 1 + 120 and episode.time_limited
    assert np.abs(pictures[120].astype(int) - pictures[119]).max() > 100  # the message
    assert its.gaps == "The video leaves out 18 s without a reward or a lost life."


def test_stalled_game_is_cut_after_two_minutes(replay):
    its = Course(replay.model_copy(update={"frames": 20_000}))
    shown = 0
    for number in range(20_000):
        shown += its.shows(SimpleNamespace(reward=0.0, lives=3, over=number == 19_999))
    assert shown == 7200 + 1
    assert its.take_gap() == "4 min"
    assert its.gaps == "The video leaves out 4 min without a reward or a lost life."


def test_game_of_up_to_five_minutes_is_whole(replay):
    long = replay.model_copy(update={"frames": 300 * 60})
    its = Course(long)
    still = SimpleNamespace(reward=0.0, lives=3, over=False)
    assert all(its.shows(still) for _ in range(300 * 60)) and its.gaps == ""


def test_a_lost_life_ends_a_quiet_stretch(replay, impatient):
    its = Course(replay)
    lives = [3] * 20 + [2] * 10
    shown = [its.shows(SimpleNamespace(reward=0.0, lives=left, over=False)) for left in lives]
    assert shown == [True] * 6 + [False] * 14 + [True] * 7 + [False] * 3


def test_a_game_without_a_policy_s_own_panel_is_the_image_alone(replay):
    first = next(plain(replay, Course(replay)))
    np.testing.assert_array_equal(first[2::4, 2::4], next(frames(replay)).image)


def test_images_that_change_their_size_are_shown_in_the_size_of_the_first(catch, monkeypatch):
    sizes = [(100, 100), (100, 120), (2000, 90), (10, 10)]
    images = [np.full((*size, 3), 9 * n, np.uint8) for n, size in enumerate(sizes, 1)]
    shown = [Frame(image, 0.0, 0, image is images[-1]) for image in images]
    monkeypatch.setattr(render, "frames", lambda _: iter(shown))
    alone = list(plain(catch, Course(catch)))[: len(sizes)]
    wholes = annotated(catch, Uniform(3), Course(catch))
    beside = [whole[300, 300].max() for whole in wholes][: len(sizes)]
    assert [image.shape for image in alone] == [(800, 800, 3)] * len(sizes)
    assert [image[300, 300].max() for image in alone] == beside == [9, 18, 27, 36]


@pytest.mark.parametrize("shape", [(1000, 1, 3), (1, 2000, 3), (2, 3000, 3)])
def test_narrow_images_have_sides_that_a_video_can_have(shape):
    large = render.enlarged(np.zeros(shape, np.uint8))
    assert min(large.shape[:2]) == 2 and max(large.shape[:2]) >= 840


def test_the_score_is_in_the_title(replay, tmp_path):
    record(replay, tmp_path / "game.mp4", Course(replay))
    title = f"berzerk, score {replay.score:g}, sampled policy of step 1,000"
    assert title.encode() in (tmp_path / "game.mp4").read_bytes()


def test_lives_match_the_game():
    game = Replay.from_episode(played(rules_for("berzerk")), rules_for("berzerk"))
    lives = [frame.lives for frame in frames(game)]
    assert lives == sorted(lives, reverse=True) and {0, 1, 2} < {*lives}
    assert lives[-1] == 0


@pytest.mark.parametrize("with_panel", [False, True])
def test_any_environment_that_renders_is_recorded_at_its_own_speed(catch, tmp_path, with_panel):
    policy = Uniform(3) if with_panel else None
    assert record(catch, tmp_path / "game.mp4", Course(catch), policy) == catch.frames + 10
    meta, pictures = decoded(tmp_path / "game.mp4")
    pictures = list(pictures)
    assert meta["fps"] == 5 and len(pictures) == 4 + 10
    game = pictures[0][:840, :840].astype(int)
    scale = 840 // SIZE
    assert game[:: CELL * scale].shape[0] == SIZE // CELL and game.max() > 200


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((84, 84, 3), ", by channel"),
        ((84, 84, 65), ": its last channels"),
        ((84, 84, 1), ""),
        ((17,), ": its first numbers"),
        ((16,), ""),
    ],
)
def test_the_panel_says_how_what_the_network_sees_is_laid_out(replay, catch, shape, layout):
    vector = SimpleNamespace(observations=np.zeros((1, *shape)), action_names=[])
    assert render._caption(catch, Uniform(3), vector, False).inputs == layout
    for stack, stacked in ((4, ", the newest at the right"), (1, "")):
        vector = SimpleNamespace(observations=np.zeros((1, 84, 84, stack)), action_names=[])
        assert render._caption(replay, Uniform(18), vector, True).inputs == stacked


@pytest.mark.parametrize("shape", [(36, 36, 200), (36, 20000, 4)])
def test_images_with_many_channels_and_wide_ones_are_drawn(shape):
    on = np.zeros((panel.HEIGHT, panel.WIDTH, 3), np.uint8)
    panel._draw_inputs(on, np.full(shape, 255, np.uint8))
    assert on.any()


def test_a_wrong_replay_makes_no_video(replay, tmp_path):
    wrong = replay.model_copy(update={"score": replay.score + 1})
    for policy in (None, Uniform(18)):
        with pytest.raises(ReplayError):
            record(wrong, tmp_path / "game.mp4", Course(wrong), policy)
    assert list(tmp_path.iterdir()) == []


# The film


@pytest.fixture
def run(replay, tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.replays.mkdir()
    (tmp_path / "params.json").write_text("{}")
    rows = ["step,rollout/ep_rew_mean", *(f"{step},{step / 100}" for step in range(100, 2001, 100))]
    folder.progress.write_text("\n".join(rows) + "\n")
    for step in range(0, 2001, 100):
        save(folder.replays / f"step-{step}.json", replay.model_copy(update={"step": step}))
    (folder.replays / "step-damaged.json").write_text("{")
    return folder


def test_a_film_has_clips_evenly_over_the_training(run):
    steps = [game.model_extra["step"] for game in film.clips(run)]
    assert len(steps) == 12 and (steps[0], steps[-1]) == (0, 2000)
    assert set(np.diff(steps)) <= {100, 200}


def test_every_frame_of_a_film_is_accounted_for(run, monkeypatch, capsys):
    monkeypatch.setattr(film, "CLIPS", 3)
    monkeypatch.setattr(film, "CLIP_SECONDS", 0.5)
    path = film.film(run.path)
    meta, pictures = decoded(path)
    # At most so many seconds, of which every second picture is shown; then the score.
    pictures = [picture[250:660, 740:, 2] > 190 for picture in pictures]  # the curve
    assert len(pictures) == 3 * (60 // 2 + 36) and meta["size"] == (1360, 840)
    assert str(path) in capsys.readouterr().out
    assert pictures[-1].sum() > pictures[0].sum()


def test_a_film_is_made_again_only_if_its_games_have_changed(run, monkeypatch):
    written = []
    monkeypatch.setattr(film, "CLIPS", 2)
    monkeypatch.setattr(film, "images", lambda *_: written.append(1) or iter([frame] * 2))
    frame = np.zeros((2, 2, 3), np.uint8)
    path = film.film(run.path, again=False)
    for game in run.replays.iterdir():
        game.touch()  # as a copy of the folder does
    assert film.film(run.path, again=False) == path and len(written) == 1
    film.film(run.path)
    newest = run.replays / "step-2000.json"
    newest.write_text(newest.read_text().replace('"step": 2000', '"step": 2001'))
    film.film(run.path, again=False)
    path.write_bytes(b"")
    film.film(run.path, again=False)
    assert len(written) == 4


@pytest.mark.parametrize(("width", "height"), [(640, 840), (840, 840), (600, 400), (400, 600)])
def test_the_final_score_is_whole_in_images_of_any_shape(width, height):
    picture = np.full((height, width, 3), 40, np.uint8)
    render.draw_score(picture, 1234567890.0)
    band = picture[round(0.42 * height) : round(0.58 * height)]
    rows = np.flatnonzero((band > 60).any(axis=(1, 2)))
    assert rows[0] > 0 and rows[-1] < len(band) - 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_clip_ends_with_the_last_frame_of_its_game(count, monkeypatch):
    shown = [SimpleNamespace(image=np.array([number])) for number in range(count)]
    monkeypatch.setattr(film, "frames", lambda game: iter(shown))
    assert [int(picture[0]) for picture in film._end_of(None, 60)][-1] == count - 1


def test_a_run_without_games_or_without_a_curve_makes_no_film(run):
    run.progress.unlink()
    with pytest.raises(FolderError, match="no curve"):
        film.film(run.path)
    for path in run.replays.iterdir():
        path.unlink()
    for settings, after, said in (
        ({}, 2000, "the next is recorded at step 250,000"),
        (
            {"total_steps": 100_000},
            2000,
            "the run ends at step 100,304, before the next at step 250,",
        ),
        ({"video_interval": 0}, 2000, "none is recorded, because video_interval is 0"),
        ({"env_id": "CartPole-v1", "network": "mlp"}, 2000, "the next is recorded at step 250,"),
        ({"env_id": "absent:Game-v0", "network": "mlp"}, 2000, "the next is recorded at step 250,"),
        ({}, 300_000, "the next is recorded at step 500,000"),
    ):
        run.params.write_text(json.dumps(settings))
        run.progress.write_text(f"step\n{after}\n")
        with pytest.raises(FolderError, match=f"2 recorded games .* has 0; .*{said}"):
            film.film(run.path)
    assert not run.videos.exists()


def test_chart_of_a_fork_begins_where_the_fork_began(run, monkeypatch):
    origin.write(run, Origin(run.path / "before", 1_900))
    run.progress.write_text("step,rollout/ep_rew_mean\n1900,1\n1950,2\n2000,3\n")
    shown = []
    monkeypatch.setattr(film._Side, "show", lambda side, game: shown.append(side))
    monkeypatch.setattr(film, "CLIP_SECONDS", 0.1)
    for game in run.replays.glob("step-*.json"):
        if game.stem not in ("step-1900", "step-2000"):
            game.unlink()
    film.film(run.path)
    left, _, right, _ = film.CURVE
    width = right - left - 10
    assert shown[0]._points[:, 0].tolist() == [0, width // 2, width]
