import pytest

from ppo.envs import human, roms


def test_there_are_57_games_which_are_all_roms():
    assert len(human.PUBLISHED) == 57
    assert all(roms.is_rom(game) for game in human.PUBLISHED)
    assert all(before < after for before, after in human.PUBLISHED.values())


@pytest.mark.parametrize(
    ("game", "score", "normalized"),
    [
        ("pong", -20.7, 0),
        ("pong", 14.6, 1),
        ("pong", 21, 41.7 / 35.3),
        ("breakout", 400, (400 - 1.7) / 28.8),
        ("skiing", -4336.9, 1),
        ("double_dunk", -20.8, -1),
    ],
)
def test_random_play_is_0_and_a_human_is_1(game, score, normalized):
    assert human.normalized(game, score) == pytest.approx(normalized)


@pytest.mark.parametrize("game", ["tetris", "CartPole-v1"])
def test_game_without_published_scores_has_none(game):
    assert human.normalized(game, 1.0) is None
