"""The boundary around environments: whatever they raise, and whatever they give, is one error."""

import functools
import os
import re
import signal
import sys
import threading
from contextlib import suppress

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TimeLimit

from ppo.envs import checks, factories, registry, screens
from ppo.envs.episode import Rules
from ppo.envs.foreign import Boundary, ForeignEnv, closing
from ppo.envs.generic import GenericEnvs
from ppo.errors import EnvironmentFailed
from ppo.settings import Params
from ppo.system.signals import StopSignal, ctrl_c_raises
from tests.failing_envs import ERRORS
from tests.rules import rules_for

MODULE = "tests.failing_envs"


def failing(call: str, error: str = "ValueError") -> str:
    return f"{MODULE}:Failing-{call}-{error}-v0"


def used(rules: Rules) -> None:
    """Make, reset, step and close two envs, as training does."""
    envs = GenericEnvs(rules, num_envs=2)
    with closing(envs):
        envs.reset(np.ones(2, bool), np.array([1, 2]))
        envs.send(np.array([0, 1]))
        envs.receive()


class Bits(CartPoleEnv):
    """Notes the bits that its actions set, and the options of its resets."""

    def reset(self, seed, options):
        self.noted = [options]
        return super().reset(seed=seed)

    def step(self, action):
        self.noted.append(int(1 << 35 * action))
        return super().step(action)


@pytest.mark.parametrize("action", [1, np.int32(1), np.int64(1), np.array([1], np.int32)[0]])
def test_an_environment_gets_the_same_types_whoever_calls_it(action, monkeypatch):
    entry = gymnasium.envs.registration.EnvSpec("Bits-v0", Bits, disable_env_checker=True)
    monkeypatch.setitem(gymnasium.registry, "Bits-v0", entry)
    env = ForeignEnv("Bits-v0")
    with closing(env):
        for options in ({}, {"seed": 1}, {"options": {}}):
            env.reset(**options)
            env.step(action)
            assert env.unwrapped.noted == [{}, 1 << 35]


@pytest.mark.parametrize("given", [{}, {"DISPLAY": ":0"}, {"SDL_VIDEODRIVER": "mine"}])
def test_sdl_does_not_look_for_a_screen_where_there_is_none(given, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.setenv(name, "")  # restored at the end, whatever is set meanwhile
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ForeignEnv("CartPole-v1").close()
    wanted = None if "DISPLAY" in given else given.get("SDL_VIDEODRIVER", "dummy")
    assert os.environ.get("SDL_VIDEODRIVER") == wanted


# Ctrl-C is taken as the environment's own only where Python's handler is not the default one.
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", ["construction", "reset", "step", "close"])
def test_whatever_an_environment_raises_is_one_error_with_its_name_and_words(call, error):
    env_id = failing(call, error)
    with ctrl_c_raises(), pytest.raises(EnvironmentFailed) as caught:
        used(rules_for(env_id))
    first_line = str(ERRORS[error]).splitlines()[0]
    words = str(caught.value)
    assert words.startswith(f"{env_id} ") and f" in its {call} (failing_envs.py, line " in words
    assert words.endswith(f": {error}: {first_line}") and not caught.value.refused


def test_an_error_whose_message_fails_is_reported_by_its_name():
    class Wordless(Exception):
        def __str__(self):
            raise ZeroDivisionError

    failed = pytest.raises(EnvironmentFailed, match=r"x failed in its step.*: Wordless$")
    with failed, Boundary("x", "step"):
        raise Wordless


def test_a_signal_is_not_an_error_of_the_environment():
    with ctrl_c_raises(), pytest.raises(StopSignal), Boundary("x", "step"):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Boundary("x", "step"):  # no handler tells them apart
        raise KeyboardInterrupt


def test_a_close_that_fails_does_not_hide_what_came_before():
    with pytest.raises(ZeroDivisionError), closing(ForeignEnv(failing("close"))):
        raise ZeroDivisionError


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_render_is_reported_in_one_line(error):
    with ctrl_c_raises():
        fault = screens.fault(rules_for(failing("render", error)))
    assert fault.startswith(f"{failing('render', error)} cannot be shown") and "\n" not in fault
    assert error in fault


def test_an_image_without_pixels_is_refused(monkeypatch):
    monkeypatch.setattr(CartPoleEnv, "render", lambda _: np.zeros((0, 40, 3), np.uint8))
    assert "it gave no image of bytes" in screens.fault(rules_for("CartPole-v1"))


class Unseen(CartPoleEnv):
    metadata = {"render_modes": []}  # noqa: RUF012

    def render(self):
        raise ZeroDivisionError


def test_an_environment_without_images_brings_no_warning(recwarn):
    gymnasium.register("Unseen-v0", Unseen)
    assert screens.fault(rules_for("Unseen-v0")) and not recwarn.list


# --- modules


class Moving(CartPoleEnv):
    def __init__(self, fails: bool, later: bool = False):
        super().__init__()
        if not later:
            os.chdir("/")
        if fails:
            raise ZeroDivisionError

    def reset(self, **options):
        os.chdir("/")
        return super().reset(**options)


gymnasium.register("Moving-v0", Moving)


@pytest.mark.parametrize("fails", [False, True])
def test_an_environment_that_changes_the_current_folder_moves_no_relative_path(
    fails, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with suppress(EnvironmentFailed):
        ForeignEnv("Moving-v0", fails=fails).close()
    assert os.getcwd() == str(tmp_path)


def test_an_environment_that_moves_in_its_reset_moves_no_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = ForeignEnv("Moving-v0", fails=False, later=True)
    env.reset()
    assert os.getcwd() == "/"
    env.close()
    assert os.getcwd() == str(tmp_path)


def test_an_environment_does_not_undo_a_change_of_the_programs_folder(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    env = ForeignEnv("CartPole-v1")
    os.chdir(tmp_path)
    env.close()
    assert os.getcwd() == str(tmp_path)


def locked_env(lock, steps=5, **options):
    with lock:
        return TimeLimit(CartPoleEnv(**options), steps)


def test_a_function_with_an_object_that_cannot_be_copied_makes_environments():
    env_id = factories.id_of(functools.partial(locked_env, threading.Lock()))
    with closing(ForeignEnv(env_id, render_mode="rgb_array")) as env:
        assert env.spec.max_episode_steps == 5


def test_an_environment_from_a_function_has_the_defaults_of_its_time_limit():
    long, short = (functools.partial(locked_env, threading.Lock(), steps) for steps in (1000, 999))
    assert registry.settings_for(factories.id_of(long))["gamma"] == registry.LONG["gamma"]
    assert "gamma" not in registry.settings_for(factories.id_of(short))


def test_an_environment_with_the_name_of_a_rom_is_refused(monkeypatch):
    entry = gymnasium.envs.registration.EnvSpec("tetris", CartPoleEnv)
    monkeypatch.setitem(gymnasium.registry, "tetris", entry)
    with pytest.raises(registry.UnknownGame, match="a ROM too; register it as tetris-v0"):
        registry.look_up("tetris")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write the module ``toys``; it can be imported meanwhile."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> None:
        (tmp_path / "toys.py").write_text(source)

    return write


@pytest.mark.parametrize(
    "source",
    ["import sys; sys.exit(0)", "raise BrokenPipeError", "import absent", "1 / 0"],
)
def test_a_module_that_raises_has_failed(module, source):
    module(source)
    for ask in (registry.look_up, lambda env_id: used(rules_for(env_id))):
        with pytest.raises(EnvironmentFailed, match=r"^toys:Toy-v0 .* import \(toys.py, line 1\)"):
            ask("toys:Toy-v0")


def test_a_module_that_is_not_there_is_refused_with_the_variable_that_finds_it():
    for env_id in ("toys:Toy-v0", "toys.games:Toy-v0"):
        with pytest.raises(registry.UnknownGame, match=r"No module named 'toys'; .*PYTHONPATH"):
            registry.look_up(env_id)


def test_a_module_that_is_not_python_is_refused(module):
    module("def")
    with pytest.raises(registry.UnknownGame, match=r"SyntaxError.*toys\.py, line 1"):
        registry.look_up("toys:Toy-v0")


def test_a_module_that_imports_tensorflow_does_so_without_the_users_variables(module, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
    module("import os, gymnasium; gymnasium.register('Seen-v0', 'toys:x'); seen = {**os.environ}")
    try:
        registry.look_up("toys:Seen-v0")
    finally:
        del gymnasium.registry["Seen-v0"]
    seen = sys.modules["toys"].seen
    assert seen["TF_ENABLE_ONEDNN_OPTS"] == "1" and "TF_XLA_FLAGS" not in seen


def test_one_id_of_two_modules_is_not_swapped_silently(module, monkeypatch):
    own = "gymnasium.envs.classic_control:CartPoleEnv"
    module(f"import gymnasium; gymnasium.register('Both-v0', {own!r})")
    monkeypatch.setitem(sys.modules, "others", sys)  # is imported already
    try:
        ForeignEnv("toys:Both-v0").close()
        ForeignEnv("toys:Both-v0").close()
        gymnasium.registry.pop("Both-v0")
        gymnasium.register("Both-v0", "gymnasium.envs.classic_control:AcrobotEnv")
        ForeignEnv("others:Both-v0").close()
        with pytest.raises(EnvironmentFailed, match="Both-v0 was registered again since"):
            ForeignEnv("toys:Both-v0")
        with pytest.raises(registry.UnknownGame, match="Both-v0 was registered again since"):
            registry.look_up("toys:Both-v0")
    finally:
        del gymnasium.registry["Both-v0"]


# --- what an environment must give


class Sound(gymnasium.Env):
    """Keeps to Gymnasium's interface; each class below does not, in one way."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    shown, reward = np.zeros(2, np.float32), 1.0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return self.shown, self.reward, False, False, {}


class WrongShape(Sound):
    shown = np.zeros(3, np.float32)


class WrongType(Sound):
    shown = np.zeros(2, complex)


class NoObservation(Sound):
    shown = None


class RewardInAnArray(Sound):
    reward = np.array([1.0])


class NoReward(Sound):
    reward = None


class RewardInWords(Sound):
    reward = "one"


class OldInterface(Sound):
    def step(self, action):
        return self.shown, 1.0, False, {}


class OldReset(Sound):
    def reset(self, seed=None, options=None):
        return np.zeros(2, np.float32)


class NoSeed(Sound):
    def reset(self):
        return np.zeros(2, np.float32), {}


class IgnoresTheSeed(Sound):
    def reset(self, seed=None, options=None):
        return np.random.default_rng().random(2, np.float32), {}


class StepsByChance(Sound):
    shown = property(lambda self: np.random.default_rng().random(2, np.float32))


class PaysByChance(Sound):
    reward = property(lambda self: np.random.default_rng().random())


class SharesItsNumbers(Sound):
    shown = property(lambda self: np.random.rand(2).astype(np.float32))

    def reset(self, seed=None, options=None):
        np.random.seed(seed)
        return self.shown, {}


class NotANumber(Sound):
    def reset(self, seed=None, options=None):
        return np.full(2, np.nan, np.float32), {}


class TooLarge(Sound):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    shown = np.full(2, 1e300)


class Empty(Sound):
    observation_space = gymnasium.spaces.Box(-1, 1, (0,), np.float32)


class Colourless(Sound):
    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 0), np.uint8)


class FromOne(Sound):
    action_space = gymnasium.spaces.Discrete(3, start=1)


class ManyActions(Sound):
    action_space = gymnasium.spaces.Discrete(40_001)


class NoSpaces(gymnasium.Env):
    pass


class NoEnvironment:
    pass


UNFIT = {
    WrongShape: r"step cannot be used: .*\(3,\).*\(2,\)",
    WrongType: "step cannot be used: .*complex128.*float32",
    NoObservation: "step cannot be used: .*object",
    RewardInAnArray: r"step cannot be used: the reward is array\(\[1.\]\)",
    NoReward: "step cannot be used: the reward is None",
    RewardInWords: "step cannot be used: the reward is 'one'",
    OldInterface: "step cannot be used: .*5",
    OldReset: "reset cannot be used: ",
    NoSeed: "reset cannot be used: .*seed",
    IgnoresTheSeed: "two resets with the same seed, .* differ",
    StepsByChance: "two resets with the same seed, .* differ",
    PaysByChance: "two resets with the same seed, .* differ",
    SharesItsNumbers: "the same seed differs if another environment of this id plays",
    NotANumber: "first observations are not finite in float32",
    TooLarge: "first observations are not finite in float32",
    Empty: "a Box of vectors that is not empty",
    Colourless: "observations are",
    FromOne: r"Discrete\(3, start=1\); they must be Discrete from 0, without a start",
    ManyActions: r"actions are Discrete\(40001\); they must be at most 40,000",
    NoSpaces: "construction cannot be used: .*space",
    NoEnvironment: "construction cannot be used: .*gymnasium.Env",
}


class OnlyOne(Sound):
    """Cannot be made while another one is open."""

    is_open = False

    def __init__(self):
        if OnlyOne.is_open:
            raise ConnectionError("the simulator is in use")
        OnlyOne.is_open = True

    def close(self):
        OnlyOne.is_open = False


def test_an_environment_that_cannot_have_a_neighbour_is_accepted(monkeypatch):
    entry = gymnasium.envs.registration.EnvSpec("OnlyOne-v0", OnlyOne)
    monkeypatch.setitem(gymnasium.registry, "OnlyOne-v0", entry)
    assert checks.check_new(Params(env_id="OnlyOne-v0", network="mlp"), frozenset()) == []


@pytest.mark.parametrize("kind", UNFIT, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unchecked"])
def test_an_environment_that_does_not_fit_is_refused_in_one_line(kind, checked):
    gymnasium.register("Unfit-v0", entry_point=kind, disable_env_checker=not checked)
    try:
        params = Params(env_id="Unfit-v0", network="mlp")
        fault, *_ = checks.check_new(params, frozenset())
        later = checks.check(params, frozenset())
    finally:
        del gymnasium.registry["Unfit-v0"]
    assert bool(later) == ("same seed" not in fault)  # a run that exists can still be used
    assert fault.startswith("env_id = 'Unfit-v0': ") and "\n" not in fault
    assert re.search(UNFIT[kind], fault), fault
