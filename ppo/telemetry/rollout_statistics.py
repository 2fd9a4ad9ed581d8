"""The statistics of a rollout: its actions, its advantages, and how well its values predicted."""

import math

import numpy as np

from ppo.settings import Params


def rollout_scalars(
    actions: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
    action_names: list[str],
    params: Params,
) -> dict[str, float]:
    """Return the scalars of a rollout, whose arrays are [T, N]. ``train/advantage_scale`` is the
    factor that would normalise all advantages at once. The loss normalises each minibatch by its
    own.
    """
    # If all advantages are equal, rounding may still give a small standard deviation.
    std = float(advantages.std()) if advantages.min() < advantages.max() else 0.0
    divisor = max(std, params.advantage_std_floor) if params.normalize_advantages else 0.0
    shares = np.bincount(actions.ravel(), minlength=len(action_names)) / actions.size
    return {
        "train/explained_variance": explained_variance(values, returns),
        "train/advantage_std": std,
        "train/advantage_scale": 1 / divisor if divisor else math.nan,
    } | {f"actions/share_{name}": float(n) for name, n in zip(action_names, shares, strict=True)}


def explained_variance(values: np.ndarray, returns: np.ndarray) -> float:
    """Return 1 - Var(returns - values) / Var(returns); NaN (undefined) for constant returns."""
    variance = np.var(returns)
    # If all returns are equal, rounding may still give a small variance.
    if variance == 0 or returns.min() == returns.max():
        return float("nan")
    return float(1.0 - np.var(returns - values) / variance)
