r"""Do replays and restores hold in every ROM? Random play, played again, and compared.

    python -m benchmarks.roms --workers=2 > roms.jsonl
    python -m benchmarks.roms --games=pong,yars_revenge --plain-resets

Two envs play episodes of each ROM. Each episode is replayed from its reset and its actions, and one
is rendered as a person sees it. The vector is restored in mid-episode. Prints a JSON line for each
ROM and a sum. ``--plain-resets`` seeds only every 64th episode, to show which ROMs need more.
"""

import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from ale_py import roms

from ppo.envs.episode import Episode, Rules
from ppo.envs.roms import is_for_several
from ppo.envs.vector import RESETS_PER_SEED, EnvVector
from ppo.replay.replay import Replay, ReplayError, frames, verify
from ppo.system.arguments import argument_parser, positive

NUM_ENVS = 2
TRIED = ("replays", "seen", "restores")
SHORT = Rules("", 4, 0.0, 30, True, False, 600)
# How it is played, and how many episodes.
WAYS: tuple[tuple[Rules, int], ...] = (
    (SHORT, 6),
    (replace(SHORT, max_frames_per_game=2500), 4),
    (replace(SHORT, frame_skip=1, full_action_space=True, noop_max=1, max_frames_per_game=200), 4),
    (replace(SHORT, frame_skip=5, noop_max=1000, fire_on_reset=False), 4),
    (replace(SHORT, frame_skip=3, sticky_action_probability=0.25, max_frames_per_game=300), 4),
)


def vector_of(rules: Rules, plain_resets: bool) -> EnvVector:
    """Envs, not yet reset."""
    vector = EnvVector(rules, NUM_ENVS, 1, seed=1)
    if plain_resets and rules.sticky_action_probability == 0:
        vector.resets_per_seed = RESETS_PER_SEED
    return vector


def played(vector: EnvVector, count: int, rng: np.random.Generator) -> list[Episode]:
    """So many episodes of random actions, each of which is held for a few steps."""
    episodes: list[Episode] = []
    actions = np.zeros(len(vector), np.int64)
    while len(episodes) < count:
        change = rng.random(len(vector)) < 0.5
        actions = np.where(change, rng.integers(vector.num_actions, size=len(vector)), actions)
        vector.send(actions)
        episodes += vector.receive().finished
    return episodes


def holds(replay: Replay) -> bool:
    """Whether an episode goes again as it went."""
    try:
        verify(replay)
    except ReplayError:
        return False
    return True


def seen(replay: Replay) -> bool:
    """Whether it does so in the form that a person sees."""
    try:
        return sum(1 for _ in frames(replay)) == replay.frames
    except ReplayError:
        return False


def restores(vector: EnvVector, plain_resets: bool, rng: np.random.Generator) -> bool:
    """Whether a vector that is restored from another shows the same, and goes on the same."""
    restored = vector_of(vector.rules, plain_resets)
    try:
        restored.restore(vector.snapshot())
        for actions in rng.integers(vector.num_actions, size=(100, len(vector))):
            if not np.array_equal(vector.observations, restored.observations):
                return False
            for one in (vector, restored):
                one.send(actions)
                one.receive()
        return True
    except Exception:
        return False
    finally:
        restored.close()


def tried(game: str, plain_resets: bool) -> Counter[str]:
    """Count what was tried with a ROM, and what held."""
    counts: Counter[str] = Counter()
    for way, count in WAYS:
        rng = np.random.default_rng(0)
        vector = vector_of(replace(way, game=game), plain_resets)
        vector.begin()
        replays = [
            Replay.from_episode(episode, vector.rules) for episode in played(vector, count, rng)
        ]
        counts.update(replays=len(replays), replays_hold=sum(map(holds, replays)))
        counts.update(seen=1, seen_hold=int(seen(replays[-1])))
        for actions in rng.integers(vector.num_actions, size=(40, NUM_ENVS)):
            vector.send(actions)
            vector.receive()
        counts.update(restores=1, restores_hold=int(restores(vector, plain_resets, rng)))
        vector.close()
    return counts


def main() -> int:
    """Try, print; exit code 0 only if everything holds."""
    parser = argument_parser("benchmarks.roms", __doc__)
    parser.add_argument("--games", help="ROMs, with commas between; all that can be played")
    parser.add_argument("--plain-resets", action="store_true")
    parser.add_argument("--workers", type=positive, default=1)
    options = parser.parse_args()
    every = sorted(rom for rom in roms.get_all_rom_ids() if not is_for_several(rom))
    games = options.games.split(",") if options.games else every
    total: Counter[str] = Counter()
    whole = []
    with ProcessPoolExecutor(options.workers) as pool:
        tries = pool.map(partial(tried, plain_resets=options.plain_resets), games)
        for game, counts in zip(games, tries, strict=True):
            print(json.dumps({"game": game, **counts}), flush=True)
            total.update(counts)
            whole.append(all(counts[what] == counts[f"{what}_hold"] for what in TRIED))
    print(json.dumps({"roms": len(whole), "everything_holds_in": sum(whole), **total}))
    return 0 if all(whole) else 1


if __name__ == "__main__":
    sys.exit(main())
