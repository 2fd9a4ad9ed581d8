"""Generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438)."""

import numpy as np


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    episode_over: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the advantages and returns of a rollout; all arrays are [T, N] (step, env).

      delta_t = r_t + gamma V'_t - V_t
      A_t     = delta_t + gamma lambda (1 - over_t) A_{t+1},   A_T = 0
      R_t     = A_t + V_t

    ``next_values`` is V', the value of the state that step t led to: 0 after a termination, the
    value of the final observation after a time limit, V_{t+1} elsewhere. Rewards contain
    no bootstrap. A sum ends where ``episode_over`` is True.

    Raises ValueError unless all four arrays have one shape of rank 2.
    """
    shapes = {array.shape for array in (rewards, values, next_values, episode_over)}
    if len(shapes) != 1 or rewards.ndim != 2:
        raise ValueError(f"gae takes four arrays of one shape [T, N], got {sorted(shapes)}")
    deltas = rewards + gamma * next_values - values
    discounts = gamma * gae_lambda * (1.0 - episode_over.astype(deltas.dtype))
    advantages = np.empty_like(deltas)
    running = np.zeros(deltas.shape[1:], deltas.dtype)
    for t in reversed(range(len(deltas))):
        running = deltas[t] + discounts[t] * running
        advantages[t] = running
    return advantages, advantages + values
