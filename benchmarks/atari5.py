"""The median human-normalised score over 57 games, predicted from five of them.

M. Aitchison et al., "Atari-5: Distilling the Arcade Learning Environment down to Five Games" (2023,
arXiv:2210.02019), chose the five whose scores tell most. Their prediction is linear in logarithms:

    log10(1 + 100 median) = sum over the five of weight x log10(1 + 100 max(score, 0))

The weights are a least-squares fit of this, without an intercept, to the scores that the authors
published with their code (dataset.csv of maitchison/Atari-5, commit 118cad5), over the 44
algorithms that have all five; their medians are 0.53 to 20. Left out one at a time, an algorithm's
median is predicted within 10 percent in the mean, 33 at worst. Below 0.5 it is an extrapolation.
"""

from collections.abc import Mapping

import numpy as np

# By ROM.
WEIGHTS = {
    "battle_zone": 0.38198,
    "double_dunk": 0.06791,
    "name_this_game": 0.31080,
    "phoenix": 0.12413,
    "qbert": 0.08049,
}


def predicted_median(scores: Mapping[str, float]) -> float | None:
    """The prediction, from human-normalised scores by ROM; None if one of the five is missing."""
    if not scores.keys() >= WEIGHTS.keys():
        return None
    logarithms = (
        weight * np.log10(1 + 100 * max(scores[rom], 0.0)) for rom, weight in WEIGHTS.items()
    )
    return float(10 ** sum(logarithms) - 1) / 100
