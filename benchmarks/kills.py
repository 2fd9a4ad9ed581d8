"""Kills at random moments, each followed by a resume: how many end as the unbroken run does?

python -m benchmarks.kills --kills=50 --workers=2 [--env-id=ALE/Pong-v5] [--precision=bfloat16]
"""

import argparse
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ppo.study import drill


def main() -> int:
    """Print a line for each kill and a sum; exit code 0 only if all ended equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--env-id", default=drill.SHORT_PONG["env_id"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    changes = {"env_id": options.env_id, "precision": options.precision}
    settings = drill.SHORT_PONG | changes
    with drill.temporary_folder() as folder:
        wanted, seconds = drill.unbroken(folder, settings)
        print(f"unbroken: {seconds:.1f} s, {wanted[:16]}", flush=True)
        # Two at a time are slower than the one: up to one and a half times its time.
        longest = seconds * (1.5 if options.workers > 1 else 1.0)

        def one(number: int) -> bool:
            return _one(folder / f"killed-{number}", settings, longest, wanted)

        with ThreadPoolExecutor(options.workers) as pool:
            equal = list(pool.map(one, range(1, options.kills + 1)))
    print(f"{sum(equal)} of {len(equal)} that were killed ended as the unbroken run")
    return 0 if all(equal) else 1


def _one(logdir: Path, settings: dict, longest: float, wanted: str) -> bool:
    """Whether a run that was killed at a random moment ended as it should; one that was done
    before its kill does not count, and another is killed sooner in its place.
    """
    while True:
        after = random.uniform(0.2, 1.0) * longest
        try:
            killed = drill.kill_and_resume(logdir, settings, after) != 0
            same = drill.fingerprint(logdir) == wanted
            said = "equal" if same else "DIFFERENT"
        except drill.DrillError as error:
            killed, same, said = True, False, str(error)
        how = "killed" if killed else "done already"
        print(f"{logdir.name}: {how} after {after:.1f} s: {said}", flush=True)
        if killed or not same:
            return same
        shutil.rmtree(logdir)
        longest = after


if __name__ == "__main__":
    sys.exit(main())
