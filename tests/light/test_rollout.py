from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise, product

import gymnasium
import numpy as np
import pytest

from ppo.envs import atari
from ppo.envs.episode import Episode, Reset, Transition
from ppo.envs.fleet import Fleet
from ppo.envs.registry import resolved
from ppo.envs.vector import EnvVector
from ppo.rollout import Collector, Rollout, stand_ins
from ppo.settings import Params, ResolvedParams
from ppo.system.keys import Purpose, key
from ppo.system.signals import Interrupted
from tests.policies import Acting, zeros_beside
from tests.rules import rules_for

CARTPOLE = resolved(
    Params(env_id="CartPole-v1", network="mlp", num_envs=3, seed=0, threads=1, clip_rewards=True)
)


def with_changes(**changes) -> ResolvedParams:
    return CARTPOLE.model_copy(update=changes)


def begun(params: ResolvedParams, num_vectors: int) -> list[EnvVector]:
    return Fleet(params, num_vectors, lambda: False, worker=0).vectors


@dataclass
class Script:
    """What happens to each place in each step, [T, n]."""

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray

    @staticmethod
    def quiet(steps: int, n: int) -> "Script":
        return Script(np.zeros((steps, n), np.float32), *(np.zeros((3, steps, n), bool)))

    @staticmethod
    def random(steps: int, n: int, seed: int) -> "Script":
        rng = np.random.default_rng(seed)
        event = rng.choice(4, (steps, n), p=[0.4, 0.2, 0.2, 0.2])
        rewards = rng.integers(-300, 300, (steps, n)).astype(np.float32)
        return Script(rewards, event == 1, event == 2, event == 3)


@dataclass
class Scripted:
    """A vector of games that follow a script. Each observation is a unique number, made of the
    index of the env and the steps so far. The final observation of a game is negative.
    """

    script: Script
    indices: range
    log: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steps = 0
        self.forced = np.zeros(len(self), bool)
        self.observations = np.zeros((len(self), 1), np.float32)
        self.num_actions = 4
        self._show()

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def columns(self) -> slice:
        return slice(self.indices.start, self.indices.stop)

    def _show(self) -> None:
        # In place, as the real one does.
        self.observations[:, 0] = [100 * place + 1 + self.steps for place in self.indices]

    def send(self, actions: np.ndarray) -> None:
        self.log.append(("send", self.indices.start))
        self.sent = actions.copy()

    def receive(self) -> Transition:
        self.log.append(("receive", self.indices.start))
        t, script = self.steps, self.script
        columns = self.columns
        self.steps += 1
        self._show()
        over = script.terminated[t, columns] | script.truncated[t, columns]
        self.forced = script.life_lost[t, columns]
        ended = np.flatnonzero(over)
        return Transition(
            rewards=script.rewards[t, columns],
            terminated=script.terminated[t, columns],
            truncated=script.truncated[t, columns],
            life_lost=script.life_lost[t, columns],
            final_observations={int(place): -self.observations[place] for place in ended},
            finished=[
                Episode(Reset(int(place) + self.indices.start, t), np.zeros(1, np.int32), 0.0, 0, 0)
                for place in ended
            ],
        )


def value(observations: np.ndarray) -> np.ndarray:
    return observations[:, 0] * np.float32(0.5)


@dataclass
class Player:
    """A policy that remembers what it saw."""

    log: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    keys: list = field(default_factory=list)

    def __call__(self, observations: np.ndarray, key: np.ndarray) -> tuple:
        self.log.append(("act", None))
        self.seen.append(observations.copy())
        self.keys.append(tuple(key.tolist()))
        actions = (observations[:, 0] % 3).astype(np.int32)
        return actions, -observations[:, 0] / 7, value(observations)


def scripted(script: Script, cuts: tuple[int, ...]) -> list[Scripted]:
    edges = (0, *cuts, script.rewards.shape[1])
    return [Scripted(script, range(a, b)) for a, b in pairwise(edges)]


def collector(vectors: list, act: Callable | None = None, steps: int = 4, **changes) -> Collector:
    params = with_changes(num_steps=steps, **changes)
    return Collector(vectors, Acting(act or Player(), value), params)


def collected(script: Script, cuts: tuple[int, ...] = (), **changes) -> Rollout:
    return collector(scripted(script, cuts), steps=len(script.rewards), **changes).collect(0)


def kept(rollout: Rollout) -> dict[str, np.ndarray]:
    """Copies: the next rollout is written into the same arrays."""
    return {name: x.copy() for name, x in vars(rollout).items() if isinstance(x, np.ndarray)}


def assert_equal(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)


# Rewards and ends


@pytest.mark.parametrize("clip", [True, False])
def test_rewards_are_their_signs_or_themselves(clip: bool):
    script = Script.quiet(4, 2)
    script.rewards[:] = [[0, 200], [-7, 0.25], [1, -1], [0, 0]]
    rollout = collected(script, clip_rewards=clip)
    expected = [[0, 1], [-1, 1], [1, -1], [0, 0]] if clip else script.rewards
    np.testing.assert_array_equal(rollout.rewards, expected)
    assert rollout.rewards.dtype == np.float32


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("reward", [np.inf, -np.inf, np.nan])
def test_a_reward_that_is_not_finite_passes_for_none(clip: bool, reward: float):
    script = Script.quiet(4, 2)
    script.rewards[2, 1] = reward
    rollout = collected(script, clip_rewards=clip)
    assert np.argwhere(~np.isfinite(rollout.rewards)).tolist() == [[2, 1]]


class Generous(gymnasium.Env):
    """An environment whose rewards do not fit into float32."""

    observation_space = gymnasium.spaces.Box(0, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        return np.zeros(4, np.float32), 1e300 if action else -1e300, False, False, {}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("clip", "learnt"), [(True, 1.0), (False, np.inf)])
def test_a_reward_that_float32_cannot_hold_still_has_a_sign(clip: bool, learnt: float):
    gymnasium.register("Generous-v0", Generous)
    try:
        params = with_changes(env_id="Generous-v0", num_envs=2, clip_rewards=clip)
        vectors = begun(params, 1)
        player = Acting(lambda observations, _: zeros_beside(np.array([1, 0])), value)
        made = Collector(vectors, player, params.model_copy(update={"num_steps": 1})).collect(0)
    finally:
        del gymnasium.registry["Generous-v0"]
    np.testing.assert_array_equal(made.rewards, [[learnt, -learnt]])


@pytest.mark.parametrize(
    ("rewards", "clip", "changed"),
    [
        ([[-1.0, 0.0], [1.0, 1.0]], True, False),
        ([[-1.0, 0.0], [0.1, 1.0]], True, True),
        ([[-1.0, 0.0], [4.0, 1.0]], False, False),
    ],
)
def test_rewards_that_clipping_changes_are_noticed(rewards, clip: bool, changed: bool):
    script = Script.quiet(4, 2)
    script.rewards[:] = 2 * rewards
    collects = collector(scripted(script, ()), steps=2, clip_rewards=clip)
    noticed = []
    collects.when_clipped = lambda: noticed.append(True)
    collects.collect(0)
    collects.collect(1)
    assert len(noticed) == changed


@pytest.mark.parametrize("cuts", [(), (1,)])
def test_points_are_what_all_games_scored_in_this_rollout_whatever_is_learnt_from(cuts):
    script = Script.random(8, 3, seed=4)
    collects = collector(scripted(script, cuts), steps=4, clip_rewards=True)
    for number, rewards in enumerate((script.rewards[:4], script.rewards[4:])):
        assert collects.collect(number).points == rewards.sum() != np.sign(rewards).sum()


@pytest.mark.parametrize("cuts", [(), (2,), (1, 3)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("terminal_on_life_loss", [True, False])
def test_any_rollout_agrees_with_one_written_out(
    seed: int, cuts: tuple[int, ...], terminal_on_life_loss: bool
):
    steps, n = 9, 5
    script = Script.random(steps, n, seed)
    rollout = collected(script, cuts, terminal_on_life_loss=terminal_on_life_loss)
    for t in range(steps):
        for place in range(n):
            at = t, place
            observation = np.float32(100 * place + 1 + t)
            over = script.terminated[at] or script.truncated[at]
            if script.truncated[at]:
                following = -(observation + 1) / 2
            elif script.terminated[at] or (script.life_lost[at] and terminal_on_life_loss):
                over, following = True, 0
            else:
                following = (observation + 1) / 2
            assert rollout.observations[at] == observation
            assert rollout.actions[at] == observation % 3
            assert rollout.log_probs[at] == -observation / np.float32(7)
            assert rollout.values[at] == observation / 2
            assert rollout.rewards[at] == np.sign(script.rewards[at])
            assert rollout.episode_over[at] == over
            assert rollout.next_values[at] == following
    assert [(game.reset.resets, game.reset.seed) for game in rollout.episodes] == (
        [tuple(at) for at in np.argwhere(script.terminated | script.truncated)]
    )
    assert rollout.end_rows == [t for t, _ in np.argwhere(script.terminated | script.truncated)]


@pytest.mark.parametrize("cuts", [(), (2,)])
def test_steps_after_a_lost_life_are_marked_as_forced(cuts: tuple[int, ...]):
    script = Script.random(9, 5, seed=1)
    games = collector(scripted(script, cuts), steps=4)
    np.testing.assert_array_equal(games.collect(0).forced[1:], script.life_lost[:3])
    np.testing.assert_array_equal(games.collect(1).forced, script.life_lost[3:7])


def test_replacements_are_sampled_evenly_from_the_steps_that_were_not_forced():
    forced = np.zeros((20, 10), bool)
    forced[::2, ::3] = True
    drawn = np.concatenate([stand_ins(forced, 1, n) for n in range(500)])
    assert len(drawn) == 500 * forced.sum()
    counts = np.bincount(drawn, minlength=200).reshape(forced.shape)
    assert not counts[forced].any()
    expected = len(drawn) / (~forced).sum()
    assert np.abs(counts[~forced] / expected - 1).max() < 5 / np.sqrt(expected)


def test_replacements_follow_from_seed_and_counters():
    forced = np.arange(100) % 3 == 0
    draws = [stand_ins(forced, *numbers).tolist() for numbers in [(1, 2), (1, 2), (1, 3), (2, 2)]]
    assert draws[0] == draws[1] and len(set(map(tuple, draws))) == 3


def test_if_all_steps_are_forced_each_keeps_itself():
    assert stand_ins(np.ones((2, 2), bool), 1).tolist() == [0, 1, 2, 3]
    assert not len(stand_ins(np.zeros((2, 2), bool), 1))


def test_nothing_of_a_rollout_is_left_in_the_next():
    script = Script.random(8, 3, seed=1)
    script.truncated[4:] = script.terminated[4:] = script.life_lost[4:] = False
    script.rewards[4:] = 0
    games = collector(scripted(script, (1,)), steps=4)
    assert games.collect(0).episode_over.any()
    rollout = games.collect(1)
    assert not rollout.episode_over.any() and not rollout.rewards.any() and not rollout.episodes
    following = np.arange(6, 10)[:, np.newaxis] + 100 * np.arange(3)
    np.testing.assert_array_equal(rollout.next_values, following / 2)


def test_arrays_have_the_types_that_the_update_computes_with():
    rollout = collected(Script.quiet(4, 2))
    floats = (rollout.log_probs, rollout.values, rollout.rewards, rollout.next_values)
    assert all(array.dtype == np.float32 for array in floats)
    assert rollout.actions.dtype == np.int32 and rollout.episode_over.dtype == bool


# The order of things


def test_while_one_half_plays_the_policy_acts_for_the_other():
    log: list = []
    vectors = scripted(Script.quiet(3, 2), (1,))
    for vector in vectors:
        vector.log = log
    collector(vectors, Player(log), steps=3).collect(0)
    act = ("act", None)
    first, second = ([act, ("send", part)] for part in (0, 1))
    got_first, got_second = ([("receive", part)] for part in (0, 1))
    again = [*got_first, *first, *got_second, *second]
    assert log == [*first, *second, *again, *again, *got_first, *got_second]


def test_actions_go_to_the_games_they_were_chosen_for():
    vectors = scripted(Script.quiet(1, 5), (2,))
    rollout = collector(vectors, steps=1).collect(0)
    sent = np.concatenate([vector.sent for vector in vectors])
    np.testing.assert_array_equal(sent, rollout.actions[0])
    assert [len(vector.sent) for vector in vectors] == [2, 3]


def test_the_stored_observations_are_those_that_the_actions_were_chosen_from():
    player = Player()
    rollout = collector(scripted(Script.random(6, 4, 0), ()), player, steps=6).collect(0)
    np.testing.assert_array_equal(rollout.observations, np.stack(player.seen))


def test_no_two_choices_share_their_random_numbers():
    player = Player()
    games = collector(scripted(Script.quiet(8, 2), (1,)), player, steps=4)
    games.collect(0)
    games.collect(1)
    assert len(set(player.keys)) == len(player.keys) == 2 * 2 * 4


def test_workers_with_other_counts_of_vectors_share_no_random_numbers():
    keys = []
    for worker, cuts in enumerate([(1, 2), (), (1,)]):
        player, vectors = Player(), scripted(Script.quiet(4, 3), cuts)
        params = with_changes(num_steps=4, workers=3)
        Collector(vectors, Acting(player, value), params, worker).collect(0)
        keys += player.keys
    assert len(set(keys)) == len(keys) == 4 * (3 + 1 + 2)


def test_actions_share_no_random_numbers_with_another_purpose():
    player = Player()
    games = collector(scripted(Script.quiet(32, 2), (1,)), player, steps=4)
    for iteration in range(8):
        games.collect(iteration)
    others = {
        tuple(key(0, purpose, *counters).tolist())
        for purpose in set(Purpose) - {Purpose.ACTION}
        for counters in product(range(8), range(2))
    }
    assert not others & set(player.keys)


def test_random_numbers_follow_from_seed_and_iteration():
    keys = []
    for seed, iteration in ((0, 5), (0, 5), (1, 5), (0, 6)):
        player = Player()
        vectors = scripted(Script.quiet(4, 2), (1,))
        collector(vectors, player, seed=seed).collect(iteration)
        keys.append(player.keys)
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2]) and not set(keys[0]) & set(keys[3])


# Breaking off


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_an_interruption_is_heeded_before_the_next_step_is_sent(after: int):
    answers: Iterator[bool] = iter([False] * after + [True])
    log: list = []
    vectors = scripted(Script.quiet(4, 2), (1,))
    for vector in vectors:
        vector.log = log
    with pytest.raises(Interrupted):
        collector(vectors).collect(0, lambda: next(answers))
    assert sum(what == "send" for what, _ in log) == after


def test_emulators_are_closed_if_making_the_others_is_interrupted(monkeypatch):
    made, closed, answers = [], [], iter([False, False, True])
    monkeypatch.setattr(atari.AtariEnvs, "__init__", lambda self, *_: made.append(self))
    monkeypatch.setattr(atari.AtariEnvs, "close", lambda self: closed.append(self))
    with pytest.raises(Interrupted):
        atari.GroupedEnvs(rules_for("pong"), 32, 1, lambda: next(answers))
    assert len(made) == 2 and closed == made


def test_games_in_the_midst_of_a_step_can_be_left():
    params = with_changes(env_id="PongNoFrameskip-v4", num_envs=2, max_frames_per_game=16)
    vectors = begun(params, num_vectors=2)
    answers = iter([False, False, True])

    def act(observations: np.ndarray, key: np.ndarray) -> tuple:
        return zeros_beside(np.zeros(len(observations)))

    games = collector(vectors, act)
    with pytest.raises(Interrupted):
        games.collect(0, lambda: next(answers))
    for vector in vectors:
        vector.close()


# Real games


def gambler(observations: np.ndarray, key: np.ndarray) -> tuple:
    """Random actions, as the key says."""
    rng = np.random.default_rng(key.view(np.uint32))
    actions = rng.integers(2, size=len(observations)).astype(np.int32)
    return actions, np.full(len(actions), -np.log(2), np.float32), value(observations)


def leaner(observations: np.ndarray, key: np.ndarray) -> tuple:
    """Actions that follow from what is seen."""
    actions = (observations[:, 2] > 0).astype(np.int32)
    return actions, np.zeros(len(actions), np.float32), value(observations)


def cartpoles(act: Callable, cut: bool = True, seed: int = 1, steps: int = 60) -> Collector:
    params = with_changes(seed=seed)
    vectors = begun(params, num_vectors=2 if cut else 1)
    return collector(vectors, act, steps, seed=seed)


def test_equal_collectors_collect_equal_rollouts():
    one, two = cartpoles(gambler), cartpoles(gambler)
    for iteration in range(3):
        assert_equal(kept(one.collect(iteration)), kept(two.collect(iteration)))


def test_another_seed_collects_another_rollout():
    one, two = (kept(cartpoles(gambler, seed=seed).collect(0)) for seed in (1, 2))
    assert not np.array_equal(one["observations"], two["observations"])
    assert not np.array_equal(one["actions"], two["actions"])


def test_two_vectors_collect_what_one_vector_would():
    one, two = cartpoles(leaner), cartpoles(leaner, cut=False)
    for iteration in range(3):
        assert_equal(kept(one.collect(iteration)), kept(two.collect(iteration)))


def test_each_rollout_begins_where_the_last_one_stopped():
    short, long = cartpoles(leaner, steps=30), cartpoles(leaner, steps=60)
    parts = [kept(short.collect(iteration)) for iteration in range(2)]
    whole = kept(long.collect(0))
    assert_equal({name: np.concatenate([p[name] for p in parts]) for name in whole}, whole)


def test_a_real_rollout_hangs_together():
    rollout = cartpoles(gambler, steps=100).collect(0)
    over, observations = rollout.episode_over, rollout.observations
    assert observations.shape == (100, 3, 4) and over.any()
    assert len(rollout.episodes) == over.sum()
    np.testing.assert_array_equal(rollout.values, observations[..., 0] * np.float32(0.5))
    np.testing.assert_array_equal(rollout.rewards, np.ones((100, 3)))
    # Within a game each value is the next value of the step before it; poles fall, they do
    # not come to a time limit.
    np.testing.assert_array_equal(
        rollout.next_values[:-1], np.where(over[:-1], 0, rollout.values[1:])
    )
    # A game begins near the middle, and goes by its actions: a push to the right is felt.
    assert (np.abs(observations[1:][over[:-1]]) <= 0.05).all()
    pushes = (observations[1:, :, 1] - observations[:-1, :, 1])[~over[:-1]]
    np.testing.assert_array_equal(pushes > 0, rollout.actions[:-1][~over[:-1]] == 1)


def test_a_real_time_limit_is_bootstrapped_from_the_final_observation():
    params = with_changes(env_id="PongNoFrameskip-v4", num_envs=1, max_frames_per_game=32)
    (vector,) = begun(params, num_vectors=2)
    (longer,) = begun(params.model_copy(update={"max_frames_per_game": 99}), num_vectors=2)

    def brightness(observations: np.ndarray) -> np.ndarray:
        return observations.astype(np.float32).mean(axis=(1, 2, 3))

    def act(observations: np.ndarray, key: np.ndarray) -> tuple:
        assert observations.dtype == np.uint8
        actions = np.full(len(observations), 2, np.int32)
        return actions, np.zeros(len(actions), np.float32), brightness(observations)

    rollouts = [
        Collector([moved], Acting(act, brightness), with_changes(num_steps=9)).collect(0)
        for moved in (vector, longer)
    ]
    assert rollouts[0].episode_over[:, 0].tolist() == [False] * 7 + [True, False]
    assert not rollouts[1].episode_over.any()
    assert rollouts[0].observations.dtype == np.uint8
    end, going_on, next_game = (
        rollout.next_values[t, 0]
        for rollout, t in ((rollouts[0], 7), (rollouts[1], 7), (rollouts[0], 8))
    )
    assert end == pytest.approx(going_on, rel=1e-3)
    assert end != pytest.approx(next_game, rel=0.1)
    vector.close()
    longer.close()
