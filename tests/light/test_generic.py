"""Environments outside Atari: what they return may be anything that Gymnasium allows."""

import gc
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from ppo.envs import fleet
from ppo.envs.generic import GenericEnvs
from ppo.envs.registry import resolved
from ppo.envs.vector import EnvVector
from ppo.errors import EnvironmentFailed
from ppo.replay.replay import env_at_start
from ppo.settings import Params
from tests.rules import rules_for

LENGTH = 3  # steps of an episode


class Counting(gymnasium.Env):
    """Shows the number of its step in one array, which it uses again, and tells what it likes."""

    observation_space = gymnasium.spaces.Box(0, 9, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    seeds: list[int | None] = []  # noqa: RUF012 (of its resets; a test replaces it)

    def __init__(self):
        self.shown, self.steps = np.zeros(2, np.float32), 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.steps = 0
        return self._observation(), {"winner": None, "legal": np.arange(2)}

    def step(self, action):
        self.steps += 1
        winner = int(action) if self.steps == LENGTH else None
        extra = {"winner": winner, "legal": np.arange(self.steps)}
        return self._observation(), 1.0, self.steps == LENGTH, False, extra

    def _observation(self):
        self.shown[:] = self.steps
        return self.shown


class Endless(Counting):
    """An environment whose episodes end by a limit alone."""

    def step(self, action):
        observation, reward, *_ = super().step(action)
        return observation, reward, False, False, {}


class Third(Counting):
    """An environment that cannot be made a third time."""

    made = closed = 0

    def __init__(self):
        super().__init__()
        Third.made += 1
        if Third.made == 3:
            raise OSError("no port is left")

    def close(self):
        Third.closed += 1


def test_environments_are_closed_if_a_later_one_cannot_be_made(monkeypatch):
    monkeypatch.setitem(gymnasium.registry, "Third-v0", EnvSpec("Third-v0", entry_point=Third))
    rules = rules_for("Third-v0")
    with pytest.raises(EnvironmentFailed, match="no port is left"):
        GenericEnvs(rules, num_envs=3)
    assert Third.closed == 2
    envs = GenericEnvs(rules, num_envs=1)
    gc.collect()
    assert Third.closed == 2
    envs.close()
    assert Third.closed == 3


def test_the_env_of_a_replay_is_closed_if_its_reset_fails(monkeypatch):
    class Stuck(Counting):
        closed = 0

        def reset(self, *, seed=None, options=None):
            raise OSError("no server answers")

        def close(self):
            Stuck.closed += 1

    monkeypatch.setitem(gymnasium.registry, "Stuck-v0", EnvSpec("Stuck-v0", entry_point=Stuck))
    with pytest.raises(EnvironmentFailed, match="no server answers"):
        env_at_start(SimpleNamespace(rules=rules_for("Stuck-v0"), seed=0, resets=1))
    assert Stuck.closed == 1


def test_vectors_are_closed_if_a_later_one_cannot_be_made_even_if_one_fails(monkeypatch):
    class Vector:
        def __init__(self, rules, num_envs, threads, first_index, **options):
            self.index = first_index
            if first_index == 2:
                raise EnvironmentFailed("no third vector")

        def close(self):
            closed.append(self.index)
            if self.index == 1:
                raise EnvironmentFailed("the second does not close")

    closed = []
    monkeypatch.setattr(fleet, "EnvVector", Vector)
    cart = Params(env_id="CartPole-v1", network="mlp", num_envs=3, num_minibatches=1)
    with pytest.raises(EnvironmentFailed, match="no third vector"):
        fleet.Fleet(resolved(cart), 3, lambda: False, 0)
    assert sorted(closed) == [0, 1]


@pytest.fixture
def envs():
    gymnasium.register("Counting-v0", entry_point=Counting, disable_env_checker=True)
    vector = GenericEnvs(rules_for("Counting-v0"), num_envs=2)
    vector.reset(np.ones(2, bool), None)
    yield vector
    vector.close()
    del gymnasium.registry["Counting-v0"]


def test_infos_of_envs_stop_no_run(envs):
    for _ in range(2):
        for _ in range(LENGTH):
            envs.send(np.array([0, 1]))
            *_, info = envs.receive()
        assert "winner" not in info and info["frame_number"].tolist() == [LENGTH] * 2
        envs.reset(np.ones(2, bool), None)


def test_each_episode_begins_with_one_reset_and_its_seed(envs, monkeypatch):
    monkeypatch.setattr(Counting, "seeds", [])
    with closing(EnvVector(rules_for("Counting-v0"), 1, 1)) as vector:
        vector.begin()
        for _ in range(2 * LENGTH):
            vector.send(np.array([0]))
            vector.receive()
        assert len(Counting.seeds) == 3 and None not in Counting.seeds
        vector.restore(vector.snapshot())
        assert len(Counting.seeds) == 4


@pytest.mark.parametrize(
    ("of_the_run", "own", "steps"), [(5, None, 5), (5, -1, 5), (2, 4, 2), (9, 4, 4)]
)
def test_an_episode_is_cut_at_the_lower_of_two_limits(of_the_run, own, steps):
    gymnasium.register(
        "Endless-v0", entry_point=Endless, max_episode_steps=own, disable_env_checker=True
    )
    rules = replace(rules_for("Endless-v0"), max_frames_per_game=of_the_run)
    try:
        with closing(GenericEnvs(rules, num_envs=1)) as envs:
            envs.reset(np.ones(1, bool), None)
            for step in range(1, steps + 1):
                envs.send(np.array([0]))
                _, _, terminated, truncated, _ = envs.receive()
                assert (terminated[0], truncated[0]) == (False, step == steps)
    finally:
        del gymnasium.registry["Endless-v0"]


def test_last_observation_is_kept_of_an_env_that_uses_its_array_again(envs):
    for _ in range(LENGTH):
        envs.send(np.array([0, 0]))
        *_, info = envs.receive()
    observations, _ = envs.reset(np.ones(2, bool), None)
    assert [final.tolist() for final in info["final_obs"]] == [[LENGTH, LENGTH]] * 2
    assert observations.tolist() == [[0, 0]] * 2
