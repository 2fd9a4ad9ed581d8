"""GAE against the double sum of its paper, which shares no code with the recursion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo.advantages import gae


def random_rollout(seed: int, steps: int, games: int):
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(2, steps, games))
    episode_over = rng.random((steps, games)) < 0.25
    terminated = episode_over & (rng.random((steps, games)) < 0.5)
    after = np.concatenate([values[1:], rng.normal(size=(1, games))])
    finals = rng.normal(size=(steps, games))  # values of final observations, at time limits
    next_values = np.where(terminated, 0.0, np.where(episode_over, finals, after))
    return rewards, values, next_values, episode_over


def double_sum(rewards, values, next_values, episode_over, gamma, gae_lambda):
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, up to the end of the episode."""
    steps, games = rewards.shape
    advantages = np.zeros((steps, games))
    for game in range(games):
        for t in range(steps):
            for k in range(t, steps):
                delta = rewards[k, game] + gamma * next_values[k, game] - values[k, game]
                advantages[t, game] += (gamma * gae_lambda) ** (k - t) * delta
                if episode_over[k, game]:
                    break
    return advantages


fractions = st.floats(0, 1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 3), fractions, fractions)
def test_equals_the_double_sum_of_the_paper(seed, steps, games, gamma, gae_lambda):
    rollout = random_rollout(seed, steps, games)
    advantages, returns = gae(*rollout, gamma, gae_lambda)
    expected = double_sum(*rollout, gamma, gae_lambda)
    np.testing.assert_allclose(advantages, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(returns, expected + rollout[1], rtol=1e-9, atol=1e-9)


def test_hand_calculation_with_a_termination_and_a_time_limit():
    column = lambda *numbers: np.array(numbers, float)[:, np.newaxis]  # noqa: E731
    rewards = column(1, 2, 3, 4)
    values = column(10, 20, 30, 40)
    next_values = column(20, 0, 100, 50)  # step 2 terminates, step 3 meets a time limit
    episode_over = np.array([[False], [True], [True], [False]])
    advantages, _ = gae(rewards, values, next_values, episode_over, 0.5, 0.5)
    # delta: 1 + 10 - 10 = 1; 2 + 0 - 20 = -18; 3 + 50 - 30 = 23; 4 + 25 - 40 = -11
    # A:     1 + 0.25 * -18 = -3.5; -18; 23; -11
    assert advantages[:, 0].tolist() == [-3.5, -18, 23, -11]


@given(st.integers(0, 2**32 - 1), fractions)
def test_lambda_0_is_the_one_step_error(seed, gamma):
    rewards, values, next_values, episode_over = random_rollout(seed, 6, 2)
    advantages, _ = gae(rewards, values, next_values, episode_over, gamma, 0.0)
    np.testing.assert_allclose(advantages, rewards + gamma * next_values - values)


@given(st.integers(0, 2**32 - 1))
def test_lambda_1_is_the_discounted_sum_of_rewards(seed):
    rewards, values, next_values, _ = random_rollout(seed, 6, 2)
    never = np.zeros(rewards.shape, bool)
    next_values[:-1] = values[1:]
    _, returns = gae(rewards, values, next_values, never, 0.9, 1.0)
    powers = 0.9 ** np.arange(6)[:, np.newaxis]
    expected = (powers * rewards).sum(0) + 0.9**6 * next_values[-1]
    np.testing.assert_allclose(returns[0], expected)


def test_an_endless_reward_of_1_is_worth_1_over_1_minus_gamma():
    ones = np.ones((3, 1))
    worth = ones / (1 - 0.9)
    advantages, returns = gae(ones, worth, worth, np.zeros((3, 1), bool), 0.9, 0.95)
    np.testing.assert_allclose(advantages, 0, atol=1e-12)
    np.testing.assert_allclose(returns, worth)


def test_inputs_are_left_as_they_are():
    rollout = random_rollout(0, 5, 2)
    copies = [array.copy() for array in rollout]
    gae(*rollout, 0.9, 0.9)
    for array, copy in zip(rollout, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_shapes_that_would_broadcast_are_refused():
    square, row = np.zeros((2, 2)), np.zeros((1, 2))
    with pytest.raises(ValueError, match="one shape"):
        gae(square, square, row, square, 0.9, 0.9)
    with pytest.raises(ValueError, match="one shape"):
        gae(*[np.zeros(3)] * 4, 0.9, 0.9)


@pytest.mark.parametrize("place", range(4))
def test_each_array_has_the_shape_of_the_others(place):
    arrays = [np.zeros((2, 3)) for _ in range(4)]
    for shape in [(2, 1), (1, 3), (3,), (2, 3, 1)]:
        arrays[place] = np.zeros(shape)
        with pytest.raises(ValueError, match=r"\[T, N\]"):
            gae(*arrays, 0.9, 0.9)


def test_a_rollout_without_steps_has_no_advantages():
    nothing = np.zeros((0, 3))
    for result in gae(nothing, nothing, nothing, nothing, 0.99, 0.95):
        assert result.shape == (0, 3)


def test_single_precision_stays_single():
    rollout = [array.astype(np.float32) for array in random_rollout(0, 5, 2)[:3]]
    for array in gae(*rollout, np.zeros((5, 2), bool), 0.99, 0.95):
        assert array.dtype == np.float32
