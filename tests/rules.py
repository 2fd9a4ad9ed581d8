"""The default rules of the games in tests, and games that are played by rules."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from threading import Thread

import numpy as np

from ppo.envs.episode import Episode, Rules
from ppo.envs.vector import EnvVector


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


def played(rules: Rules, games_before: int = 0, action: int | None = None) -> Episode:
    """Return a game of random actions with points, after so many others. With an ``action``, which
    is repeated, the game may have no points.
    """
    rng, games = np.random.default_rng(0), 0
    with closing(EnvVector(rules, num_envs=1, threads=1, seed=4)) as vector:
        vector.begin()
        while True:
            drawn = rng.integers(vector.num_actions, size=1)
            vector.send(drawn if action is None else np.array([action]))
            for game in vector.receive().finished:
                if games >= games_before and (game.score > 0 or action is not None):
                    return game
                games += 1


def in_time(work: Callable, seconds: float = 30):
    """The emulator can wait for ever: let the test fail then, not hang."""
    result: Future = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result(timeout=seconds)
