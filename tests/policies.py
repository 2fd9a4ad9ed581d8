"""Policies without a network, under the interface of ``ppo.policy.Policy``."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def no_values(observations: np.ndarray) -> np.ndarray:
    return np.zeros(len(observations), np.float32)


@dataclass
class Acting:
    """Acts by a function (observations, key) -> (actions, log_probs, values)."""

    decide: Callable
    values: Callable = no_values
    choice: str = "sampled"

    def prepare(self) -> None:
        """There are no weights."""

    def act(self, observations: np.ndarray, key: np.ndarray):
        return Decided(*self.decide(observations, key))


@dataclass
class Decided:
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray

    def __iter__(self):
        return iter((self.actions, self.log_probs, self.values))


def zeros_beside(actions: np.ndarray) -> tuple:
    """Actions with log-probabilities and values of 0."""
    zeros = np.zeros(len(actions), np.float32)
    return actions.astype(np.int32), zeros, zeros
