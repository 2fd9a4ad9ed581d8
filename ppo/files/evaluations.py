"""What ``evaluations.jsonl`` says of a run."""

import json
from contextlib import suppress

from ppo.files.folder import RunFolder


def best(folder: RunFolder, policy: str, until: int) -> float | None:
    """The best mean score of a policy's evaluations up to a step; None if there is none. Lines that
    are none are passed over: the last one may have been cut off."""
    means = []
    text = folder.evaluations.read_text(errors="replace") if folder.evaluations.exists() else ""
    for line in text.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            if told["policy"] == policy and told["step"] <= until:
                means.append(float(told["mean"]))
    return max(means, default=None)
