import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo import checkpoint, params, train
from ppo.envs.episode import SCORE_LIMIT, Episode, Reset
from ppo.envs.registry import resolved, rules_of
from ppo.evaluate.agent import TrainedAgent
from ppo.evaluate.evaluate import Evaluation, evaluate, evaluate_each
from ppo.files import evaluations
from ppo.files.folder import RunFolder
from ppo.files.lock import owned
from ppo.replay.replay import Replay, play
from ppo.runs.observers import Evaluator
from ppo.runs.terminal import Pace
from ppo.settings import Params, ResolvedParams
from ppo.system.keys import Purpose, seed31
from ppo.system.signals import Interrupted
from ppo.telemetry import progress
from ppo.telemetry.intervals import FEWEST
from tests.policies import Acting, zeros_beside

CARTPOLE = resolved(Params(env_id="CartPole-v1", network="mlp", num_envs=3, seed=5, threads=1))


def with_changes(**changes) -> ResolvedParams:
    return CARTPOLE.model_copy(update=changes)


def gamble(observations: np.ndarray, key: np.ndarray) -> tuple:
    """Random actions, as the key says."""
    rng = np.random.default_rng(key.view(np.uint32))
    return zeros_beside(rng.integers(2, size=len(observations)))


gambler = Acting(gamble)


def first_env_lasts(observations: np.ndarray, key: np.ndarray) -> tuple:
    """The first env balances its pole to the time limit; the others let it fall."""
    actions = np.zeros(len(observations), np.int32)
    actions[0] = observations[0, 2] + observations[0, 3] / 2 > 0
    return zeros_beside(actions)


def facts(evaluation: Evaluation) -> list[tuple]:
    return [
        (game.reset, game.actions.tolist(), game.score, game.frames) for game in evaluation.episodes
    ]


def of(scores: list[float]) -> Evaluation:
    actions = np.zeros(1, np.int32)
    return Evaluation([Episode(Reset(0, 0), actions, score, 1, 0) for score in scores])


# Which games


@pytest.mark.parametrize("num_games", [1, 2, 3, 7, 8])
def test_as_many_games_are_played_as_asked_for(num_games: int):
    evaluation = evaluate(gambler, CARTPOLE, num_games, step=0)
    assert len(evaluation.episodes) == num_games
    assert all(game.steps == len(game.actions) > 0 for game in evaluation.episodes)


def test_each_place_plays_its_share_however_long_its_games_last():
    evaluation = evaluate(Acting(first_env_lasts), CARTPOLE, 7, step=0)
    # Whichever games end first, 500 steps against 10: three, two and two.
    shares = {0: 3, 1: 2, 2: 2}
    assert [game.reset.seed for game in evaluation.episodes] == [
        seed31(5, Purpose.EVALUATION_GAME, place, number)
        for place, share in shares.items()
        for number in range(share)
    ]
    scores = [game.score for game in evaluation.episodes]
    assert scores[:3] == [500] * 3 and max(scores[3:]) < 15


def test_no_place_plays_that_would_not_end_it_sooner():
    at_once = set()

    def act(observations: np.ndarray, key: np.ndarray) -> tuple:
        at_once.add(len(observations))
        return gamble(observations, key)

    evaluate(Acting(act), with_changes(num_envs=8), 10, step=0)
    assert at_once == {5}  # two in a row at each, as with eight, where six would wait


def test_a_single_game_is_the_first_of_the_first_place():
    evaluation = evaluate(gambler, CARTPOLE, 1, step=0)
    first = Reset(seed31(5, Purpose.EVALUATION_GAME, 0, 0), 0)
    assert [game.reset for game in evaluation.episodes] == [first]


def test_the_same_step_gives_the_same_games_and_another_step_others():
    one, two, other = (
        facts(evaluate(gambler, CARTPOLE, 6, step)) for step in (10_000, 10_000, 20_000)
    )
    assert one == two
    assert [game[1] for game in one] != [game[1] for game in other]


def test_an_evaluation_of_the_training_is_repeated_with_the_seed_of_the_run():
    agent = TrainedAgent(CARTPOLE, 100, gambler)
    assert facts(agent.evaluate(7, seed=5)) == facts(evaluate(gambler, CARTPOLE, 7, step=100))


def test_each_policy_plays_the_games_that_it_would_play_alone():
    policies = [gambler, Acting(first_env_lasts), gambler]
    together = evaluate_each(policies, CARTPOLE, 7, step=3)
    alone = [evaluate(policy, CARTPOLE, 7, step=3) for policy in policies]
    assert [*map(facts, together)] == [*map(facts, alone)]


def test_games_that_only_the_time_limit_ended_are_counted():
    evaluation = evaluate(Acting(first_env_lasts), with_changes(num_envs=3), 3, step=0)
    limited = [game.time_limited for game in evaluation.episodes]
    assert limited == [game.steps == 500 for game in evaluation.episodes] == [True, False, False]
    assert evaluation.record(CARTPOLE, gambler, 0)["time_limited"] == evaluation.time_limited == 1


def test_policy_that_never_begins_to_play_is_ended_by_the_time_limit(tmp_path: Path):
    rules = {"env_id": "BreakoutNoFrameskip-v4", "fire_on_reset": False, "num_envs": 2}
    params = resolved(Params(**rules, max_frames_per_game=80, noop_max=1))
    idle = Acting(lambda observations, key: zeros_beside(np.zeros(len(observations), np.int32)))
    evaluation = evaluate(idle, params, 2, step=0)
    assert evaluation.time_limited == 2 and evaluation.mean == 0
    evaluator = Evaluator(idle, params, RunFolder(tmp_path), Pace(params), print, print)
    message = evaluator._message(evaluation.record(params, idle, 7))
    assert message.endswith("; the time limit ended 2 of 2 games")


def test_another_seed_gives_other_games():
    one, other = (facts(evaluate(gambler, with_changes(seed=seed), 3, 0)) for seed in (5, 6))
    assert not {game[0] for game in one} & {game[0] for game in other}


def test_no_action_is_drawn_with_the_random_numbers_of_another():
    keys = []

    def act(observations: np.ndarray, key: np.ndarray) -> tuple:
        keys.append(tuple(key.tolist()))
        return gamble(observations, key)

    for step in (0, 1):
        evaluate(Acting(act), CARTPOLE, 3, step)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("after", [0, 5])
def test_an_evaluation_can_be_broken_off_before_any_step(after: int):
    answers, steps = iter([False] * after + [True]), []

    def act(observations: np.ndarray, key: np.ndarray) -> tuple:
        steps.append(1)
        return gamble(observations, key)

    with pytest.raises(Interrupted):
        evaluate(Acting(act), CARTPOLE, 3, 0, lambda: next(answers))
    assert len(steps) == after


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_an_evaluated_atari_game_can_be_played_again(sticky: float):
    params = with_changes(
        env_id="BerzerkNoFrameskip-v4",
        sticky_action_probability=sticky,
        max_frames_per_game=150,
        num_envs=2,
    )
    evaluation = evaluate(gambler, params, 3, step=0)
    twice = evaluate_each([gambler, gambler], params, 3, step=0)
    assert [*map(facts, twice)] == [facts(evaluation)] * 2
    assert [game.frames for game in evaluation.episodes] == [150] * 3
    last = evaluation.episodes[1]
    again = play(Replay.from_episode(last, rules_of(params)))
    assert (again.score, again.steps, again.frames) == (last.score, last.steps, last.frames)
    assert last.reset.resets == (0 if sticky else 1)


# What is said of them


def test_mean_score_and_mean_length():
    evaluation = Evaluation(
        [
            Episode(Reset(0, 0), np.zeros(steps, np.int32), score, 4 * steps, 0)
            for steps, score in ((10, -1.0), (20, 6.0))
        ]
    )
    assert evaluation.mean == 2.5
    assert evaluation.mean_steps == 15


@pytest.mark.parametrize(
    ("scores", "examples"),
    [
        ([3.0], {"best": 0, "median": 0, "worst": 0}),
        ([1.0, 5.0, 3.0], {"best": 1, "median": 2, "worst": 0}),
        ([1.0, 5.0, 3.0, 2.0], {"best": 1, "median": 3, "worst": 0}),
        ([7.0, 7.0, 7.0], {"best": 0, "median": 1, "worst": 2}),
    ],
)
def test_examples_are_the_best_the_median_and_the_worst_game(scores, examples):
    assert of(scores).examples() == examples
    assert of(scores).record(CARTPOLE, gambler, 1)["median"] == np.median(scores)


def test_score_is_normalized_between_random_play_and_a_human_if_both_are_published():
    pong = with_changes(env_id="ALE/Pong-v5")
    for scores, normalized in (([-20.7, 14.6], 0.5), ([14.6], 1.0)):
        record = of(scores).record(pong, gambler, 1)
        assert record["human_normalized"] == pytest.approx(normalized)
    assert "human_normalized" not in of([14.6]).record(CARTPOLE, gambler, 1)


@given(st.lists(st.integers(-1000, 100_000), min_size=1, max_size=20))
def test_the_interval_contains_the_mean_and_of_many_scores_lies_among_them(scores: list[int]):
    evaluation = of([float(score) for score in scores])
    low, high = evaluation.interval()
    assert low <= evaluation.mean <= high
    if len(scores) == 1 or len(scores) >= FEWEST:
        assert min(scores) <= low and high <= max(scores)
    assert evaluation.interval() == (low, high)


def test_a_single_game_is_its_own_interval():
    assert of([21.0]).interval() == (21.0, 21.0)


def test_the_interval_is_the_95_percent_one():
    scores = np.random.default_rng(0).normal(50, 10, 400)
    low, high = of(scores.tolist()).interval()
    half = 1.96 * scores.std() / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.05)
    assert high == pytest.approx(scores.mean() + half, abs=0.05)


# What is kept of them


def store(folder: RunFolder, evaluation: Evaluation, params, policy, step: int, **more) -> None:
    evaluations.add(folder, evaluation.record(params, policy, step) | more)


def lines(folder: RunFolder) -> list[dict]:
    return [json.loads(line) for line in folder.evaluations.read_text().splitlines()]


def test_an_evaluation_is_a_line_with_the_promised_keys(tmp_path: Path):
    folder = RunFolder(tmp_path)
    evaluation = evaluate(gambler, CARTPOLE, 4, step=100)
    store(folder, evaluation, CARTPOLE, gambler, 100)
    (line,) = lines(folder)
    low, high = evaluation.interval()
    assert line == {
        "step": 100,
        "policy": "sampled",
        "seed": 5,
        "scores": [game.score for game in evaluation.episodes],
        "lengths": [game.steps for game in evaluation.episodes],
        "mean": evaluation.mean,
        "low": low,
        "high": high,
        "median": float(np.median(line["scores"])),
        "best": max(line["scores"]),
        "worst": min(line["scores"]),
        "mean_length": np.mean(line["lengths"]),
        "time_limited": 0,
    }


def test_evaluations_are_added_and_the_same_one_only_once(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for step in (100, 200, 100, 200, 300):
        store(folder, evaluate(gambler, CARTPOLE, 2, step), CARTPOLE, gambler, step)
    assert [line["step"] for line in lines(folder)] == [100, 200, 300]


def test_a_last_line_without_an_end_is_kept_and_half_a_line_takes_no_other_with_it(tmp_path: Path):
    folder = RunFolder(tmp_path)
    store(folder, evaluate(gambler, CARTPOLE, 2, 100), CARTPOLE, gambler, 100)
    whole = folder.evaluations.read_text()
    folder.evaluations.write_text(whole.rstrip("\n"))
    store(folder, evaluate(gambler, CARTPOLE, 2, 200), CARTPOLE, gambler, 200)
    assert [line["step"] for line in lines(folder)] == [100, 200]
    # Half a character, too.
    half = whole.encode() + '{"step": 150, "scoré'.encode()[:-1]
    folder.evaluations.write_bytes(half)
    store(folder, evaluate(gambler, CARTPOLE, 2, 200), CARTPOLE, gambler, 200)
    before, added = folder.evaluations.read_bytes().rstrip(b"\n").rsplit(b"\n", 1)
    assert before == half and json.loads(added)["step"] == 200


def test_lines_of_an_older_version_are_kept_and_known_again(tmp_path: Path):
    folder = RunFolder(tmp_path)
    evaluation = evaluate(gambler, CARTPOLE, 2, 100)
    keys = ("step", "policy", "seed", "scores", "lengths", "mean", "low", "high")
    record = evaluation.record(CARTPOLE, gambler, 100)
    old = json.dumps({key: record[key] for key in keys}) + "\n"
    folder.evaluations.write_text(old)
    store(folder, evaluation, CARTPOLE, gambler, 100)
    assert folder.evaluations.read_text() == old
    store(folder, evaluate(gambler, CARTPOLE, 2, 200), CARTPOLE, gambler, 200, replays={})
    assert [line["step"] for line in lines(folder)] == [100, 200]
    assert folder.evaluations.read_text().startswith(old)
    assert lines(folder)[1]["replays"] == {}


def test_no_line_is_lost_where_several_store_at_once(tmp_path: Path):
    folder, evaluation = RunFolder(tmp_path), of([1.0, 2.0])

    def add(step: int) -> None:
        store(folder, evaluation, CARTPOLE, gambler, step)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert sorted(line["step"] for line in lines(folder)) == list(range(40))


def test_a_training_continues_if_its_evaluations_cannot_be_stored(tmp_path: Path, capsys):
    said: list[str] = []
    included: list[dict] = []
    os.mkfifo(tmp_path / "evaluations.jsonl")
    with owned(tmp_path) as folder:
        evaluator = Evaluator(
            gambler, CARTPOLE, folder, Pace(CARTPOLE), said.append, included.append
        )
        evaluator.act(100, lambda: False)
    assert included[0]["eval/mean_reward"] > 0
    assert capsys.readouterr().err.startswith(f"{tmp_path}/evaluations.jsonl: not a regular file")
    assert "the evaluation is not stored" in said[0] and "not a regular file" in said[0]
    assert len(said) == 2 and "best so far" in said[1] and not evaluator.due


def test_a_training_continues_if_the_disk_is_full_for_an_evaluation(tmp_path: Path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    said: list[str] = []
    included: list[dict] = []
    store(RunFolder(tmp_path), of([1.0] * CARTPOLE.evaluation_games), CARTPOLE, gambler, 50)
    monkeypatch.setattr(evaluations, "write_whole", full)
    with owned(tmp_path) as folder:
        evaluator = Evaluator(
            gambler, CARTPOLE, folder, Pace(CARTPOLE), said.append, included.append
        )
        evaluator.act(100, lambda: False)
    assert "the evaluation is not stored" in said[0] and "No space left" in said[0]
    assert f"best so far {included[0]['eval/mean_reward']:.2f}" in said[1]
    assert not evaluator.due


def test_a_bad_line_stays_and_takes_no_other_with_it(tmp_path: Path):
    folder = RunFolder(tmp_path)
    bad = b'{"step": 1, "policy": "sampled", "scores": [NaN], "mean": NaN}\r\n[[]]\n\xff\n'
    folder.evaluations.write_bytes(bad)
    store(folder, of([1.0, 2.0]), CARTPOLE, gambler, 100)
    content = folder.evaluations.read_bytes()
    assert content.startswith(bad) and json.loads(content[len(bad) :])["step"] == 100
    assert evaluations.best(folder, with_changes(evaluation_games=2), "sampled", 100) == 1.5
    assert [line["step"] for line in evaluations.read(folder)] == [100]


def test_the_largest_scores_can_be_read_again(tmp_path: Path):
    score = np.nextafter(SCORE_LIMIT, 0)
    for step, scores in enumerate([[-score, score], [score]]):
        largest = of(scores)
        assert largest.episodes[-1].has_score
        store(RunFolder(tmp_path), largest, CARTPOLE, gambler, step)
        params = with_changes(evaluation_games=len(scores))
        assert evaluations.best(RunFolder(tmp_path), params, "sampled", step) == largest.mean


def test_the_best_score_is_of_the_run_s_own_evaluations(tmp_path: Path):
    folder, params = RunFolder(tmp_path), with_changes(evaluation_games=2)
    store(folder, of([500.0]), params, gambler, 100)  # of --evaluate 1
    store(folder, of([500.0, 500.0]), with_changes(seed=6), gambler, 100)  # of another --seed
    assert evaluations.best(folder, params, "sampled", 200) is None
    store(folder, of([100.0, 90.0]), params, gambler, 200)
    assert evaluations.best(folder, params, "sampled", 200) == 95


def test_an_evaluation_that_a_stop_left_at_the_end_can_be_switched_off(tmp_path: Path, capsys):
    ending = {"num_steps": 16, "total_steps": 48, "num_minibatches": 1}
    train.run(with_changes(evaluation_interval=16, evaluation_games=1, **ending), tmp_path)
    folder = RunFolder(tmp_path)
    rows, saved = progress.numbers(tmp_path), checkpoint.newest(folder)
    due = {name: saved.parts[name] | {"due": True} for name in ("evaluation", "log")}
    checkpoint.save(folder, replace(saved, parts=saved.parts | due), kept=3)
    train.resume(tmp_path, ["evaluation_interval=0"])
    assert params.load(folder.params).evaluation_interval == 0
    assert len(evaluations.read(folder)) == 1  # of the run before
    train.resume(tmp_path)
    assert "the run is done" in capsys.readouterr().out
    assert progress.numbers(tmp_path)[: len(rows)] == rows
