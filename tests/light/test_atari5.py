"""The median over 57 games, predicted from five, against published scores."""

import numpy as np
import pytest

from benchmarks.atari5 import WEIGHTS, predicted_median

# Human-normalised scores in percent in the five games, and their median over all games, of
# algorithms with up to 30 no-ops at the start.
PUBLISHED = {
    "DQN": ([79, 556, 103, 119, 97], 77.6),
    "Double DQN": ([84, 607, 145, 177, 112], 115.2),
    "Prioritized Double DQN": ([103, 1086, 194, 494, 140], 136.6),
    "Dueling Double DQN": ([100, 867, 168, 345, 143], 142.3),
    "QR-DQN-0": ([95, 1435, 265, 1003, 199], 199.2),
}


def of_five(numbers):
    return dict(zip(WEIGHTS, numbers, strict=True))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_medians_are_predicted_within_a_sixth(name):
    percent, median = PUBLISHED[name]
    found = predicted_median(of_five(np.array(percent) / 100))
    assert found == pytest.approx(median / 100, rel=1 / 6)


def test_five_unlike_scores_by_hand():
    # The logarithms of 101, 201, 51, 11 and 401, by the weights.
    found = predicted_median(of_five([1.0, 2.0, 0.5, 0.1, 4.0]))
    assert found == pytest.approx(0.60877, abs=1e-4)


def test_worse_than_random_counts_as_random_play():
    assert predicted_median(of_five([-1.0] * 5)) == 0
    assert predicted_median(of_five([1, 1, 1, 1, -3])) == predicted_median(of_five([1, 1, 1, 1, 0]))


def test_all_five_are_needed():
    scores = of_five([1.0] * 5)
    assert predicted_median(scores | {"pong": 9.0}) == predicted_median(scores)
    del scores["phoenix"]
    assert predicted_median(scores) is None
