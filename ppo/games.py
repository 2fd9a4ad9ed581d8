"""Many games at once, each written down as it is played.

A game is how it began and what was done in it: the emulator is deterministic, so from a
``Beginning`` and its actions the very same game can be played again, bit for bit. That is
what checkpoints, replays and videos stand on.
"""

import ctypes
import difflib
import importlib
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ale_py
import cv2
import gymnasium
import numpy as np
from ale_py import roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from ppo.keys import Purpose, seed31
from ppo.params import Params
from ppo.signals import Interrupted

gymnasium.register_envs(ale_py)

# A seeded reset loads the ROM again and takes 120 to 195 ms, a plain one 8 to 13 ms; and the
# whole vector waits for it. Without sticky actions a plain reset is as deterministic.
RESETS_PER_SEED = 64

# A smaller one leaves nothing behind the third convolution of the network "nature".
SMALLEST_PICTURE = 36


class UnknownGame(ValueError):
    """There is no such game; the message names the nearest ones."""


@dataclass(frozen=True)
class Rules:
    """Everything that, beside its beginning and its actions, decides how a game goes."""

    game: str
    frame_skip: int
    sticky_action_probability: float
    noop_max: int
    fire_on_reset: bool
    full_action_space: bool
    max_frames_per_game: int

    @property
    def is_atari(self) -> bool:
        """Whether the game is a ROM; otherwise ``game`` is the id of a Gymnasium environment."""
        return self.game in roms.get_all_rom_ids()

    @staticmethod
    def of(params: Params) -> "Rules":
        """The rules that the settings stand for. Raises UnknownGame."""
        game, sticky = resolve(params.env_id)
        chosen = params.sticky_action_probability
        return Rules(
            game=game,
            frame_skip=params.frame_skip,
            sticky_action_probability=sticky if chosen is None else chosen,
            noop_max=params.noop_max,
            fire_on_reset=params.fire_on_reset,
            full_action_space=params.full_action_space,
            max_frames_per_game=params.max_frames_per_game,
        )


@dataclass(frozen=True)
class Beginning:
    """How a game began: a reset with ``seed``, then ``resets`` plain ones."""

    seed: int
    resets: int


@dataclass(frozen=True)
class Game:
    """A game from its beginning to its end."""

    beginning: Beginning
    actions: np.ndarray
    score: float
    frames: int

    @property
    def steps(self) -> int:
        """Decisions of the agent."""
        return len(self.actions)


@dataclass(frozen=True)
class Unfinished:
    """A game that is being played, and the number of seeds that its place has used up."""

    seeds_used: int
    beginning: Beginning
    actions: np.ndarray


@dataclass(frozen=True)
class Transition:
    """What one step of a vector led to; all arrays are [n].

    ``final_observations`` maps the place of each game that ended to its last picture, since
    the vector already shows the next game's first.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray
    final_observations: dict[int, np.ndarray]
    finished: list[Game]


def resolve(env_id: str) -> tuple[str, float]:
    """The ROM (or Gymnasium environment) an id stands for, and its sticky action probability.

    Raises UnknownGame, with the nearest names, or with the names to use in place of an id
    whose frame skip is random or whose observation is no picture.
    """
    if ":" in env_id:
        return _gymnasium_id(env_id), 0.0
    if f"ALE/{env_id}-v5" in gymnasium.registry:
        env_id = f"ALE/{env_id}-v5"
    spec = gymnasium.registry.get(env_id)
    if spec is None:
        raise UnknownGame(_nearest(env_id))
    if "game" not in spec.kwargs or "repeat_action_probability" not in spec.kwargs:
        return _gymnasium_id(env_id), 0.0
    if not re.fullmatch(r"ALE/\w+-v5|\w+NoFrameskip-v[04]", env_id):
        name = re.sub(r"(-ram)?(Deterministic)?-v\d$", "", env_id)
        raise UnknownGame(
            f"{env_id} brings a frame skip of its own (of random length in -v0 and -v4), while "
            f"frame_skip sets it here; use {name}NoFrameskip-v4 or ALE/{name}-v5"
        )
    return spec.kwargs["game"], float(spec.kwargs["repeat_action_probability"])


def _gymnasium_id(env_id: str) -> str:
    try:
        _spec(env_id)
    except Exception as error:
        raise UnknownGame(f"{env_id} cannot be found: {error}") from error
    return env_id


def _spec(env_id: str) -> gymnasium.envs.registration.EnvSpec:
    """The entry of ``ID`` or ``MODULE:ID``, whose module is imported first."""
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(name)


def _nearest(env_id: str) -> str:
    names = [name[4:-3] for name in gymnasium.registry if re.fullmatch(r"ALE/\w+-v5", name)]
    wanted = re.sub(r"^ALE/|NoFrameskip|Deterministic|-v\d$", "", env_id)
    by_lower = {name.lower(): name for name in names}
    close = [by_lower[n] for n in difflib.get_close_matches(wanted.lower(), by_lower, n=3)]
    ids = [f"{name}NoFrameskip-v4" for name in close]
    others = [name for name, spec in gymnasium.registry.items() if "game" not in spec.kwargs]
    ids += difflib.get_close_matches(env_id, others, n=2)
    hint = f"did you mean {', '.join(ids)}?" if ids else "try PongNoFrameskip-v4"
    return f"there is no game {env_id!r}; {hint}"


def check(params: Params, bad: frozenset[str]) -> list[str]:
    """Faults of the settings that only the games can tell (a check of ``params.load``)."""
    if "env_id" in bad:
        return []
    try:
        game, _ = resolve(params.env_id)
    except UnknownGame as error:
        return [f"env_id = {params.env_id!r}: {error}"]
    if game in roms.get_all_rom_ids():
        return _network_faults(params, bad, pictures=True)
    return _environment_faults(params, bad)


def _network_faults(params: Params, bad: frozenset[str], pictures: bool) -> list[str]:
    if "network" in bad or pictures == (params.network != "mlp"):
        return []
    what, use = ("pictures", "nature or a3c") if pictures else ("flat numbers", "mlp")
    return [f"network = {params.network!r}: {params.env_id} shows {what}; use {use}"]


def _environment_faults(params: Params, bad: frozenset[str]) -> list[str]:
    try:
        environment = gymnasium.make(params.env_id)
    except Exception as error:
        return [f"env_id = {params.env_id!r}: it cannot be made: {error}"]
    actions, observations = environment.action_space, environment.observation_space
    environment.close()
    if not isinstance(actions, gymnasium.spaces.Discrete) or actions.start != 0:
        return [f"env_id = {params.env_id!r}: its actions are {actions}; they must be Discrete"]
    if not isinstance(observations, gymnasium.spaces.Box) or not _fits(observations):
        return [
            f"env_id = {params.env_id!r}: its observations are {observations}; they must be a flat "
            f"Box, or a picture of bytes [height, width, channels] of {SMALLEST_PICTURE} pixels "
            "or more"
        ]
    return _network_faults(params, bad, pictures=len(observations.shape) == 3)


def _fits(observations: gymnasium.spaces.Box) -> bool:
    if len(observations.shape) == 3:
        return observations.dtype == np.uint8 and min(observations.shape[:2]) >= SMALLEST_PICTURE
    return len(observations.shape) == 1


class _Vector(Protocol):
    """What both kinds of vector can do; observations are channels-last."""

    num_actions: int
    observation_shape: tuple[int, ...]
    dtype: type[np.generic]

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]: ...
    def send(self, actions: np.ndarray) -> None: ...
    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]: ...
    def layout(self, raw: np.ndarray, out: np.ndarray) -> None: ...
    def close(self) -> None: ...


class _AtariVector:
    """ale-py's vector in its training form. Its frames come channels-first."""

    def __init__(
        self, rules: Rules, num_envs: int, threads: int, frame_stack: int, screen_size: int
    ):
        self.env = AtariVectorEnv(
            rules.game,
            num_envs,
            num_threads=threads,
            autoreset_mode=AutoresetMode.SAME_STEP,
            reward_clipping=False,
            episodic_life=False,
            frameskip=rules.frame_skip,
            stack_num=frame_stack,
            img_height=screen_size,
            img_width=screen_size,
            **emulator_rules(rules),
        )
        self.num_actions = int(self.env.single_action_space.n)
        self.observation_shape: tuple[int, ...] = (screen_size, screen_size, frame_stack)
        self.dtype: type[np.generic] = np.uint8

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        return self.env.reset(seed=seeds, options={"reset_mask": mask})

    def send(self, actions: np.ndarray) -> None:
        self.env.send(actions)

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        return self.env.recv()

    def layout(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Turn [n, stack, height, width] into [n, height, width, stack]."""
        for planes, picture in zip(raw, out, strict=True):
            # With one plane the two layouts are the same bytes.
            if len(planes) == 1:
                picture[..., 0] = planes[0]
            else:
                cv2.merge(list(planes), picture)

    def close(self) -> None:
        self.env.close()
        del self.env  # what is left for the interpreter's end is told as a leak
        _give_memory_back()


def _give_memory_back() -> None:
    """Let the system have what was freed, which glibc keeps by the threads that used it: without
    this an evaluation's games leave 8 MB behind.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def emulator_rules(rules: Rules) -> dict[str, Any]:
    """The rules as arguments of ale-py's vector, in the training and in the picture form."""
    return {
        "repeat_action_probability": rules.sticky_action_probability,
        "noop_max": rules.noop_max,
        "use_fire_reset": rules.fire_on_reset,
        "full_action_space": rules.full_action_space,
        "max_num_frames_per_episode": rules.max_frames_per_game,
    }


class _GymnasiumVector:
    """Any other Gymnasium environment. It has no frames of its own: a step is a frame."""

    def __init__(self, rules: Rules, num_envs: int):
        self.env = gymnasium.make_vec(
            rules.game,
            num_envs,
            max_episode_steps=_step_limit(rules),
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )
        self.num_actions = int(self.env.single_action_space.n)  # type: ignore[attr-defined]
        shape = self.env.single_observation_space.shape
        assert shape is not None
        self.observation_shape: tuple[int, ...] = shape
        picture = self.env.single_observation_space.dtype == np.uint8
        self.dtype: type[np.generic] = np.uint8 if picture else np.float32
        self.frames = np.zeros(num_envs, np.int64)

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        chosen: list[int | None] = [None] * len(mask)
        for place, seed in zip(np.flatnonzero(mask), [] if seeds is None else seeds, strict=False):
            chosen[place] = int(seed)
        observations, _ = self.env.reset(
            seed=chosen,  # type: ignore[arg-type]
            options={"reset_mask": mask},
        )
        self.frames[mask] = 0
        return observations, self._info(np.where(mask, 0, self.frames))

    def send(self, actions: np.ndarray) -> None:
        self.actions = actions

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        observations, rewards, terminated, truncated, info = self.env.step(self.actions)
        self.frames += 1
        return (
            observations,
            rewards,
            terminated,
            truncated,
            info | self._info(np.where(terminated | truncated, 0, self.frames)),
        )

    def _info(self, episode_frames: np.ndarray) -> dict:
        return {
            "lives": np.zeros(len(self.frames), int),
            "frame_number": self.frames.copy(),
            "episode_frame_number": episode_frames,
        }

    def layout(self, raw: np.ndarray, out: np.ndarray) -> None:
        out[:] = raw

    def close(self) -> None:
        self.env.close()


def _step_limit(rules: Rules) -> int:
    """The lower one of the environment's own limit and that of the rules; a step is a frame."""
    own = _spec(rules.game).max_episode_steps
    return min(rules.max_frames_per_game, own or rules.max_frames_per_game)


class GameVector:
    """Some games in step, under one contract.

    ``send`` starts a step and returns at once; ``receive`` waits for it. A game that ended is
    begun anew in the same step, so that every row is a real transition.
    """

    def __init__(
        self,
        rules: Rules,
        num_envs: int,
        threads: int,
        *,
        frame_stack: int = 4,
        screen_size: int = 84,
        seed: int = 0,
        first_place: int = 0,
        purpose: Purpose = Purpose.GAME,
    ):
        """A game's seeds follow from the run's ``seed``, the ``purpose`` and its place among all
        games of the run, of which this vector has ``num_envs`` from ``first_place`` on."""
        self.rules, self.places = rules, range(first_place, first_place + num_envs)
        self._seed, self._purpose = seed, purpose
        n = num_envs
        self._vector: _Vector = (
            _AtariVector(rules, n, threads, frame_stack, screen_size)
            if rules.is_atari
            else _GymnasiumVector(rules, n)
        )
        self.num_actions = self._vector.num_actions
        self.observations = np.zeros((n, *self._vector.observation_shape), self._vector.dtype)
        self._seeds_used = np.zeros(n, int)
        self._beginnings: list[Beginning] = [Beginning(0, 0)] * n
        self._actions: list[list[int]] = [[] for _ in range(n)]
        self._scores = np.zeros(n)
        self._frames = np.zeros(n, np.int64)
        self._lives = np.zeros(n, int)
        self._frame_number = np.zeros(n, np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def begin(self) -> None:
        """Begin all games anew, each with its place's next seed."""
        self._begin_seeded(np.ones(len(self), bool))

    def begin_as(self, beginnings: list[Beginning]) -> None:
        """Begin all games as others once began."""
        self._begin_again(np.ones(len(self), bool), beginnings)

    def send(self, actions: np.ndarray) -> None:
        """Start one step. Raises ValueError for an action out of range, before anything moves."""
        # The emulator waits for ever on an action that it does not know.
        if actions.shape != (len(self),) or actions.min() < 0 or actions.max() >= self.num_actions:
            raise ValueError(
                f"actions must be {len(self)} integers from 0 to {self.num_actions - 1}: {actions}"
            )
        for game_actions, action in zip(self._actions, actions.tolist(), strict=True):
            game_actions.append(action)
        self._vector.send(actions)

    def receive(self) -> Transition:
        """Wait for the step that was sent; ``observations`` then are the ones after it."""
        raw, rewards, terminated, truncated, info = self._vector.receive()
        over = terminated | truncated
        self._vector.layout(raw, self.observations)
        self._scores += rewards
        begun_frames = np.where(over, info["episode_frame_number"], 0)
        self._frames += info["frame_number"] - self._frame_number - begun_frames
        life_lost = ~over & (info["lives"] < self._lives)
        transition = Transition(
            rewards=np.asarray(rewards, np.float32),
            terminated=terminated,
            truncated=truncated & ~terminated,
            life_lost=life_lost,
            final_observations=self._final_observations(info, over),
            finished=[self._finished(int(place)) for place in np.flatnonzero(over)],
        )
        self._note(info)
        if over.any():
            self._begin_next(over)
        return transition

    def snapshot(self) -> list[Unfinished]:
        """The games as they stand between two steps."""
        return [
            Unfinished(int(used), beginning, np.array(actions, np.int32))
            for used, beginning, actions in zip(
                self._seeds_used, self._beginnings, self._actions, strict=True
            )
        ]

    def restore(
        self, games: list[Unfinished], interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Play unfinished games again, to where they stood. Raises Interrupted on request.

        A step moves all games of the vector, so they are played right-aligned: a game with
        fewer actions is begun later, and until then its place makes idle moves.
        """
        if len(games) != len(self):
            raise ValueError(f"{len(games)} games do not fit a vector of {len(self)}")
        lengths = np.array([len(game.actions) for game in games])
        longest = int(lengths.max(initial=0))
        self.begin()
        for step in range(longest + 1):
            if interrupted():
                raise Interrupted
            begun_now = longest - lengths == step
            if begun_now.any():
                self._begin_again(begun_now, [game.beginning for game in games])
            if step == longest:
                break
            playing = longest - lengths <= step
            self.send(
                np.array(
                    [
                        game.actions[step - (longest - length)] if on else 0
                        for game, length, on in zip(games, lengths, playing, strict=True)
                    ],
                    np.int64,
                )
            )
            if self._receive_ends()[playing].any():
                raise ValueError("an unfinished game ended while it was played again")
        self._seeds_used = np.array([game.seeds_used for game in games])

    def close(self) -> None:
        """Free the emulators."""
        self._vector.close()

    def _receive_ends(self) -> np.ndarray:
        transition = self.receive()
        return transition.terminated | transition.truncated

    def _final_observations(self, info: dict, over: np.ndarray) -> dict[int, np.ndarray]:
        """Copies, since ``info["final_obs"]`` exists only if a game ended, other rows undefined."""
        finals: dict[int, np.ndarray] = {}
        for place in np.flatnonzero(over):
            finals[int(place)] = np.empty_like(self.observations[place])
            raw = np.asarray(info["final_obs"][place])
            self._vector.layout(raw[np.newaxis], finals[int(place)][np.newaxis])
        return finals

    def _finished(self, place: int) -> Game:
        return Game(
            self._beginnings[place],
            np.array(self._actions[place], np.int32),
            float(self._scores[place]),
            int(self._frames[place]),
        )

    def _begin_next(self, over: np.ndarray) -> None:
        """Write down the games that began in this step; seed those whose turn has come."""
        for place in np.flatnonzero(over):
            before = self._beginnings[place]
            self._beginnings[place] = Beginning(before.seed, before.resets + 1)
        self._forget(over)
        # A generator that draws during a game runs on from game to game: the emulator's with
        # sticky actions, and perhaps that of any other environment.
        draws = self.rules.sticky_action_probability > 0 or not self.rules.is_atari
        most = 1 if draws else RESETS_PER_SEED
        worn = np.array([beginning.resets >= most for beginning in self._beginnings])
        if worn.any():
            self._begin_seeded(worn)

    def _begin_seeded(self, mask: np.ndarray) -> None:
        for place in np.flatnonzero(mask):
            seed = seed31(
                self._seed, self._purpose, self.places[place], int(self._seeds_used[place])
            )
            self._beginnings[place] = Beginning(seed, 0)
            self._seeds_used[place] += 1
        self._reset(mask, np.array([self._beginnings[p].seed for p in np.flatnonzero(mask)]))

    def _begin_again(self, mask: np.ndarray, beginnings: list[Beginning]) -> None:
        for place in np.flatnonzero(mask):
            self._beginnings[place] = beginnings[place]
        self._reset(mask, np.array([self._beginnings[p].seed for p in np.flatnonzero(mask)]))
        resets = np.array([beginning.resets for beginning in self._beginnings])
        for done in range(int(resets[mask].max())):
            self._reset(mask & (resets > done), None)

    def _reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> None:
        raw, info = self._vector.reset(mask, seeds)
        self._vector.layout(raw, self.observations)
        self._forget(mask)
        self._note(info)

    def _forget(self, mask: np.ndarray) -> None:
        for place in np.flatnonzero(mask):
            self._actions[place] = []
        self._scores[mask] = 0
        self._frames[mask] = 0

    def _note(self, info: dict) -> None:
        self._lives = info["lives"].copy()
        self._frame_number = info["frame_number"].astype(np.int64)


def vectors(params: Params, rules: Rules, seed: int, threads: int, count: int) -> list[GameVector]:
    """All games of a run, begun, in ``count`` vectors (or one a game, if they are fewer): the
    games of one move while the network acts for the next."""
    n, count = params.num_envs, min(count, params.num_envs)
    cuts = [n * i // count for i in range(count + 1)]
    parts = [
        GameVector(
            rules,
            b - a,
            min(threads, b - a),
            frame_stack=params.frame_stack,
            screen_size=params.screen_size,
            seed=seed,
            first_place=a,
        )
        for a, b in itertools.pairwise(cuts)
    ]
    for vector in parts:
        vector.begin()
    return parts
