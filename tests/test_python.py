"""What Python programs use: settings, results, callbacks, environments as functions, and agents."""

import json
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import ppo
from ppo import checkpoint, train
from ppo.checkpoint import NoCheckpoint
from ppo.envs import factories
from ppo.errors import Refused
from ppo.files.folder import RunFolder
from ppo.params import ParamsError
from ppo.runs.ending import Result
from ppo.runs.observers import CallbackObserver
from ppo.telemetry import progress
from ppo.trainer import Iteration

SMALL = {"num_envs": 2, "num_steps": 16, "num_minibatches": 1, "num_epochs": 1, "seed": 1}
SMALL |= {"threads": 1, "video_interval": 0, "diagnostics_interval": 0}
CART = SMALL | {"env_id": "CartPole-v1", "total_steps": 192}


def weights(logdir) -> list[np.ndarray]:
    return checkpoint.load_weights(logdir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Result:
    return ppo.train.run(CART, tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def agent(whole):
    return ppo.load(whole.folder)


@pytest.fixture(scope="module")
def pong(tmp_path_factory) -> Result:
    changes = SMALL | {"total_steps": 32, "max_frames_per_game": 40}
    return ppo.train.run("pong", tmp_path_factory.mktemp("runs") / "pong", changes)


# --- a run


def test_the_package_has_what_it_names():
    assert {name for name in ppo.__all__ if getattr(ppo, name)} == {"load", "params", "train"}
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        ppo.lode  # noqa: B018


def test_run_returns_what_it_reached(whole, pong):
    last = progress.last_row(whole.folder)
    assert whole.step == 192 and whole.folder.name == "whole"
    assert whole.score == pytest.approx(float(last["rollout/ep_rew_mean"]))
    assert whole.best == float(last["rollout/ep_rew_best"]) > whole.score
    assert ppo.train.resume(whole.folder) == whole  # it is done
    assert pong.step == 32 and pong.score is not None


def test_a_mapping_begins_with_the_usual_settings_of_its_game(whole, tmp_path):
    stored = ppo.params.load(whole.folder / "params.json")
    assert (stored.network, stored.learning_rate, stored.seed) == ("mlp", 3e-4, 1)
    unset = {key: value for key, value in CART.items() if key != "env_id"}
    again = ppo.train.run(unset, tmp_path / "again", ["log_interval=64"], env="CartPole-v1")
    assert all(map(np.array_equal, weights(whole.folder), weights(again.folder)))


@pytest.mark.parametrize("source", ["mapping", "settings"])
def test_settings_that_do_not_fit_create_nothing(source, tmp_path):
    given = {"env_id": "CartPole-v1", "network": "a3c"}
    with pytest.raises(ParamsError, match="has vector observations"):
        ppo.train.run(given if source == "mapping" else ppo.params.load(given), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_change_that_was_never_saved_can_be_taken_back(tmp_path):
    usual = CART | {"learning_rate": 1e-3}
    stopped = ppo.train.run(usual, tmp_path / "run", callback=lambda _: False)
    stored = RunFolder(stopped.folder).params
    # As by a resume that diverged before its first checkpoint.
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"learning_rate": 0.5}))
    ppo.train.resume(stopped.folder, {"learning_rate": 1e-3}, callback=lambda _: False)
    assert json.loads(stored.read_text())["learning_rate"] == 1e-3


# --- a callback


def test_callback_sees_each_iteration_and_its_false_stops_the_run(whole, tmp_path):
    steps = []

    def callback(iteration):
        steps.append(iteration.step)
        assert "train/approx_kl" in iteration.scalars and "rollout/games" in iteration.scalars
        return np.bool_(iteration.step < 96)

    stopped = ppo.train.run(CART, tmp_path / "run", callback=callback)
    assert steps == [32, 64, 96] and stopped.step == 96
    saved = checkpoint.newest(RunFolder(stopped.folder))
    assert saved.step == 96 and "" not in saved.parts
    resumed = ppo.train.resume(stopped.folder, callback=lambda iteration: None)
    assert resumed.step == whole.step and resumed.score == whole.score
    assert all(map(np.array_equal, weights(whole.folder), weights(resumed.folder)))


@pytest.mark.parametrize("answer", [None, True, 0, 0.0, "", [], np.float32(0), np.True_])
def test_only_false_stops_a_run(answer):
    observer = CallbackObserver(SimpleNamespace(totals=dict), lambda _: answer, stop=lambda: False)
    observer.see(Iteration(0, 32, [], [], {}))
    assert not observer.stops()


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_error_in_a_callback_is_raised_after_all_is_saved(error, tmp_path):
    def callback(iteration):
        if iteration.step == 64:
            raise error("of the user")

    with pytest.raises(error, match="of the user"):
        ppo.train.run(CART, tmp_path / "run", callback=callback)
    assert checkpoint.newest(RunFolder(tmp_path / "run")).step == 64


# --- an environment as a function


def make(**options):
    """CartPole, with the time as a fifth number."""
    env = gymnasium.make("CartPole-v1", **options)
    return gymnasium.wrappers.TimeAwareObservation(env)


def test_environment_may_be_a_function_which_a_new_process_gives_again(tmp_path):
    logdir, half = tmp_path / "run", SMALL | {"total_steps": 64}
    ppo.train.run(half, logdir, env=make)
    assert ppo.params.load(logdir / "params.json").env_id == "factory/make-v0"
    for again in (ppo.train.resume, ppo.load):
        with pytest.raises(ParamsError, match=r"ppo\.load\(RUN, env=make\)"):
            again(logdir)
    more = {"total_steps": 128}
    stopped = ppo.train.fork(logdir, tmp_path / "fork", more, env=make, callback=lambda _: False)
    assert stopped.step == 96
    gymnasium.registry.pop("factory/make-v0")  # as in a new process
    assert ppo.train.resume(tmp_path / "fork", env=make).step == 128
    gymnasium.registry.pop("factory/make-v0")
    loaded = ppo.load(tmp_path / "fork", env=make)
    assert loaded.predict(np.zeros(5))[0] in (0, 1) and loaded.evaluate(2).mean > 0


def test_function_is_refused_where_the_run_has_another_environment(whole):
    for again in (ppo.train.resume, ppo.load):
        with pytest.raises(Refused, match="started with the environment CartPole-v1"):
            again(whole.folder, env=make)
    with pytest.raises(TypeError, match="a function that returns an environment"):
        ppo.train.run({}, whole.folder.with_name("new"), env=gymnasium.make("CartPole-v1"))


def test_two_functions_of_one_name_do_not_replace_each_other():
    two = [lambda: gymnasium.make("CartPole-v1"), lambda: gymnasium.make("Acrobot-v1")]
    ids = [factories.id_of(one) for one in (*two, *two)]
    assert ids == ["factory/lambda-v0", "factory/lambda-1-v0"] * 2
    assert [len(gymnasium.make(one).observation_space.low) for one in ids[:2]] == [4, 6]


def paying(reward: float):
    """A function named ``make`` for CartPole with another reward."""

    def make(**options):
        env = gymnasium.make("CartPole-v1", max_episode_steps=9, **options)
        return gymnasium.wrappers.TransformReward(env, lambda _: reward)

    return make


def test_functions_of_one_name_keep_their_games_in_runs_of_two_processes(tmp_path):
    """Both runs store the same id."""
    base, new = paying(100.0), paying(1.0)
    short = SMALL | {"total_steps": 32}
    ppo.train.run(short, tmp_path / "base", env=base)
    del gymnasium.registry[factories.id_of(base)]  # as in a new process
    longer = SMALL | {"total_steps": 96, "evaluation_interval": 32, "evaluation_games": 1}
    agents = []

    def callback(iteration):
        if iteration.step == 32:
            agents.append(ppo.load(tmp_path / "base", env=base))

    ppo.train.run(longer, tmp_path / "new", env=new, callback=callback)
    evaluated = (tmp_path / "new" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["mean"] <= 9 for line in evaluated] == [True] * len(evaluated)
    assert len(evaluated) >= 3
    agents.append(ppo.load(tmp_path / "new", env=new))
    assert [agent.evaluate(1).mean >= 100 for agent in agents] == [True, False]
    with pytest.raises(ParamsError, match="was given as a function"):
        ppo.load(tmp_path / "base")
    more = {"total_steps": 64}
    assert ppo.train.resume(tmp_path / "base", more, env=base).step == 64
    assert ppo.train.resume(tmp_path / "base", {"total_steps": 96}, env=base).step == 96


# --- an agent


def test_predict_acts_for_one_observation_or_a_batch(agent):
    one, state = agent.predict([0.0, 0.1, 0.0, -0.1], deterministic=True)
    assert (one.shape, one.dtype, state) == ((), np.int64, None)
    assert gymnasium.make("CartPole-v1").action_space.contains(one)
    batch = np.random.default_rng(0).normal(size=(64, 4))
    actions, state = agent.predict(batch, state="kept", episode_start=[True], deterministic=True)
    assert (actions.shape, state) == ((64,), "kept")
    probabilities, _ = agent.policy.probabilities_and_values(batch.astype(np.float32))
    assert (actions == probabilities.argmax(1)).all()
    assert (agent.predict(batch.reshape(8, 8, 4), deterministic=True)[0].ravel() == actions).all()
    with pytest.raises(ValueError, match=r"one or a batch; these are float32 of shape \(0, 4\)"):
        agent.predict(np.zeros((0, 4), np.float32))


def test_predict_samples_anew_in_each_call_and_the_same_after_a_load(whole):
    batch = np.zeros((400, 4), np.float32)
    first, second = ppo.load(whole.folder), ppo.load(whole.folder)
    actions = [first.predict(batch)[0], first.predict(batch)[0]]
    assert (actions[0] != actions[1]).any()
    assert all(map(np.array_equal, actions, [second.predict(batch)[0], second.predict(batch)[0]]))
    probability = first.policy.probabilities_and_values(batch[:1])[0][0, 1]
    assert np.mean(actions) == pytest.approx(probability, abs=0.09)  # five standard deviations


def test_predict_takes_images_in_both_layouts(pong):
    agent = ppo.load(pong.folder)
    images = np.random.default_rng(0).integers(256, size=(3, 84, 84, 4), dtype=np.uint8)
    last = agent.predict(images, deterministic=True)[0]
    first = agent.predict(np.moveaxis(images, -1, 1), deterministic=True)[0]
    assert (last == first).all() and agent.predict(images[0].transpose(2, 0, 1))[0].shape == ()
    for wrong in (images / 255, images[:, :80], images[..., 0], np.zeros(())):
        with pytest.raises(ValueError, match=r"takes uint8 observations of shape \(84, 84, 4\)"):
            agent.predict(wrong)


def test_agent_plays_whole_games(agent):
    played = agent.evaluate(games=3, seed=7)
    assert len(played.scores) == 3 and played.mean == np.mean(played.scores)
    assert (agent.evaluate(3, seed=7).scores == played.scores).all()
    assert agent.evaluate(2, deterministic=True, seed=7).mean > 0
    for games in (0, 10_001, 2.5, True):
        with pytest.raises(ValueError, match=f"games must be .* from 1 to 10000, not {games}"):
            agent.evaluate(games)
    for seed in (-1, 2**31, True):
        with pytest.raises(ValueError, match=f"seed must be .* from 0 to 2147483647, not {seed}"):
            agent.evaluate(1, seed=seed)


def test_a_checkpoint_that_is_no_step_is_refused(whole, tmp_path):
    for which in ("4096", None, 4096.0, True):
        with pytest.raises(NoCheckpoint, match=f"{which!r} is neither newest nor best nor a step"):
            ppo.load(whole.folder, which)
        with pytest.raises(NoCheckpoint, match="is neither newest nor best nor a step"):
            train.fork(whole.folder, tmp_path / "fork", step=which)


def test_an_empty_path_is_not_the_current_folder():
    for call in (ppo.load, train.resume, lambda path: train.run({}, path)):
        with pytest.raises(Refused, match="the path is empty"):
            call("")


def test_load_chooses_the_checkpoint(whole):
    assert ppo.load(whole.folder, 0).step == 0
    assert ppo.load(str(whole.folder), "best").step <= whole.step
