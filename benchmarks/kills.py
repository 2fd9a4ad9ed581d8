"""Kills at random moments, each followed by a resume: how many end as the unbroken run does?

python -m benchmarks.kills --kills=50 --workers=2 [--env-id=ALE/Pong-v5]
"""

import argparse
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ppo import drill


def main() -> int:
    """Print a line for each kill and a sum; exit code 0 only if all ended equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--env-id", default=drill.SHORT_PONG["env_id"])
    options = parser.parse_args()
    settings = drill.SHORT_PONG | {"env_id": options.env_id}
    with drill.temporary_folder() as folder:
        wanted, seconds = drill.unbroken(folder, settings)
        print(f"unbroken: {seconds:.1f} s, {wanted[:16]}", flush=True)
        # Two at a time are slower than the one: up to one and a half times its time.
        longest = seconds * (1.5 if options.workers > 1 else 1.0)

        def one(number: int) -> tuple[bool, bool]:
            after = random.uniform(0.2, 1.0) * longest
            return _one(folder / f"killed-{number}", settings, after, wanted, number)

        with ThreadPoolExecutor(options.workers) as pool:
            outcomes = list(pool.map(one, range(1, options.kills + 1)))
    killed = [same for really, same in outcomes if really]
    print(
        f"{sum(killed)} of {len(killed)} that were killed ended as the unbroken run; "
        f"{len(outcomes) - len(killed)} were done before their kill"
    )
    return 0 if all(same for _, same in outcomes) else 1


def _one(logdir: Path, settings: dict, after: float, wanted: str, number: int) -> tuple[bool, bool]:
    """Whether the run was really killed, and whether it ended as it should."""
    code = 1
    try:
        code = drill.kill_and_resume(logdir, settings, after)
        same = drill.fingerprint(logdir) == wanted
        how = "killed" if code else "was done already,"
        said = "equal" if same else "DIFFERENT"
    except drill.DrillError as error:
        same, how, said = False, "killed", str(error)
    print(f"{number}: {how} after {after:.1f} s: {said}", flush=True)
    return bool(code), same


if __name__ == "__main__":
    sys.exit(main())
