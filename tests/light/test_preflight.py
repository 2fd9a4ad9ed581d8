"""What --check tells of measurements that are written down."""

from pathlib import Path

import pytest

from ppo.envs.registry import resolved
from ppo.preflight import preflight
from ppo.preflight.probe import Probe
from ppo.settings import Params
from ppo.system.streams import duration
from tests.light.test_forecast import row

PONG = Params(
    num_envs=8,
    num_steps=128,
    num_minibatches=4,
    total_steps=102_400,  # 100 iterations
    checkpoints_kept=3,
    checkpoint_interval=20_000,
    log_interval=10_240,
    diagnostics_interval=0,
    video_interval=50_000,
    network="nature",
    precision="float32",
    seed=1,
    threads=2,
)
# The first iteration as it was, 99 of 2.25 seconds.
MEASURED = Probe(
    rows=[row(10), row(12.25), row(14.5) | {"rollout/ep_len_mean": 900.0}],
    num_weights=1_684_128,
    num_actions=4,
    peak_memory=1_540_000_000,
    checkpoint_size=20_300_000,
    log_size=3 * 1_000,
)
TEXTS = [
    "network nature: 1,684,128 weights, 4 actions, float32",
    "time: 4 min with 2 threads (440 steps/s)",
    "memory: 1.5 GB at most",
    "disk: 81 MB of checkpoints, 10 kB of logs",
]


def test_the_check_of_an_atari_game_prints_its_forecast_and_draws_what_is_seen(
    tmp_path, monkeypatch, capsys
):
    def probe(_: object) -> Probe:
        assert (tmp_path / "p.png").exists()
        return MEASURED

    monkeypatch.setattr(preflight, "probe", probe)
    monkeypatch.chdir(tmp_path)
    preflight.check(PONG, Path("p.png"))
    *_, picture, _, _, network, time, memory, disk = capsys.readouterr().out.splitlines()
    assert [network, time, memory] == TEXTS[:3]
    assert disk.startswith(f"{TEXTS[3]}, ") and disk.endswith("B of 3 videos of 60 s each")
    assert picture == "what the network sees: p.png"
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_the_check_without_an_encoder_has_no_forecast_of_videos(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "probe", lambda params: MEASURED)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    preflight.check(PONG, tmp_path / "p.png")
    said = capsys.readouterr().out.splitlines()
    assert "no video can be made: clip.mp4 could not be made: ffmpeg ended with 1" in said
    assert said[-1] == TEXTS[3]


@pytest.mark.parametrize(
    ("lengths", "rate", "videos"),
    [
        ([900.0], 50_000, ", 9 MB of 3 videos of 60 s each"),
        ([], 50_000, ", 3 videos of 3 MB for each minute of a game"),
        ([900.0], 0, ""),  # the game has no pictures
    ],
)
def test_videos_are_forecast_from_a_second_of_one_and_the_length_of_games(lengths, rate, videos):
    rows = [row(10), row(12.25), *({**row(14.5), "rollout/ep_len_mean": n} for n in lengths)]
    measured = Probe(rows, 1_684_128, 4, 1_540_000_000, 20_300_000, len(rows) * 1_000)
    texts = preflight.outlook(resolved(PONG), measured, rate)
    assert texts == [*TEXTS[:3], TEXTS[3] + videos]


def test_a_network_that_chooses_its_own_precision_is_shown_without():
    own = resolved(PONG).model_copy(update={"network": "mine:trunk"})
    first, *_ = preflight.outlook(own, MEASURED, 0.0)
    assert first == "network mine:trunk: 1,684,128 weights, 4 actions"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (5.4, "5 s"),
        (99, "99 s"),
        (240, "4 min"),
        (5_970, "1 h 40 min"),
        (12_000, "3 h 20 min"),
        (86_370, "1 day 0 h"),
        (187_200, "2 days 4 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds, shown):
    assert duration(seconds) == shown
