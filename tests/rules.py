"""The default rules of the games in tests."""

from ppo.envs.episode import Rules


def rules_for(game: str, max_frames_per_game: int = 108_000) -> Rules:
    """Return the rules of a game by default settings, without sticky actions."""
    return Rules(
        game=game,
        frame_skip=4,
        sticky_action_probability=0.0,
        noop_max=30,
        fire_on_reset=True,
        full_action_space=False,
        max_frames_per_game=max_frames_per_game,
    )
