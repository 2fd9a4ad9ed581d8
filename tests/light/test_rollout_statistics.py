import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo.telemetry.rollout_statistics import explained_variance


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_explained_variance_ignores_what_shifts_or_scales_both(seed, scale, shift):
    values, returns = np.random.default_rng(seed).normal(size=(2, 50))
    whole = explained_variance(scale * values + shift, scale * returns)
    assert whole == pytest.approx(1 - ((returns - values).std() / returns.std()) ** 2)


def test_explained_variance():
    returns = np.array([1.0, 2.0, 3.0])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(np.full(3, 2.0), returns) == 0
    assert explained_variance(-returns, returns) == pytest.approx(-3)
    assert np.isnan(explained_variance(returns, np.ones(3)))
    rounded = np.full(1000, 0.1, np.float32)
    assert rounded.var() > 0 and np.isnan(explained_variance(np.zeros(1000), rounded))
