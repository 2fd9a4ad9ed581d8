"""Kills of a random worker at random moments, each followed by the starter's restart: how many runs
end as the unbroken one does?

    python -m benchmarks.worker_kills --kills=20 [--workers=2]

Every second kill comes right after a checkpoint's file appears, while its content is being written.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from ppo.files.folder import PARTIAL, RunFolder
from ppo.process.cluster import LINK
from ppo.study import drill

SETTINGS = drill.SHORT_PONG | {"total_steps": 1536}


def start(logdir: Path, workers: int) -> subprocess.Popen:
    """Start a new run."""
    return drill.start(logdir, SETTINGS, options=[f"--workers={workers}"])


def saves(logdir: Path) -> bool:
    """Whether a checkpoint is being written now."""
    folder = RunFolder(logdir).checkpoints
    return folder.exists() and any(PARTIAL.fullmatch(path.name) for path in folder.iterdir())


def pids(starter: int) -> dict[int, int]:
    """The process ids of the workers that a starter has now, by index."""
    children = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()
    found = {}
    for child in map(int, children):
        for entry in Path(f"/proc/{child}/environ").read_text().split("\0"):
            name, _, link = entry.partition("=")
            if name == LINK:
                found[json.loads(link)["index"]] = child
    return found


def kill(process: subprocess.Popen, logdir: Path, after: float, in_a_save: bool) -> str:
    """Kill a random worker after some seconds, or the first one in the first save after them.
    Returns what was done, nothing if the run was done before.
    """
    time.sleep(after)
    while in_a_save and process.poll() is None and not saves(logdir):
        time.sleep(0.0005)
    found = pids(process.pid) if process.poll() is None else {}
    if not found:
        return ""
    index = 0 if in_a_save else random.choice(list(found))
    os.kill(found[index], signal.SIGKILL)
    return f"worker {index} killed after {after:.1f} s" + (" in a save" if in_a_save else "")


def main() -> int:
    """Print a line for each kill and a sum; exit code 0 only if all ended equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    equal = made = 0
    with drill.temporary_folder() as folder:
        began = time.monotonic()
        start(folder / "unbroken", options.workers).communicate()
        longest = time.monotonic() - began
        wanted = drill.fingerprint(folder / "unbroken")
        print(f"unbroken: {longest:.1f} s, {wanted[:16]}", flush=True)
        while made < options.kills:
            logdir = folder / f"killed-{made}"
            process = start(logdir, options.workers)
            after = random.uniform(0.2, 0.95) * longest
            done = kill(process, logdir, after, in_a_save=made % 2 == 1)
            process.communicate()
            code = process.returncode
            if not done:  # it was faster this time
                longest = after
                shutil.rmtree(logdir)
                continue
            made += 1
            same = code == 0 and drill.fingerprint(logdir) == wanted
            equal += same
            said = "equal" if same else f"DIFFERENT, exit code {code}"
            print(f"{made}: {done}: {said}", flush=True)
    print(f"{equal} of {made} that lost a worker ended as the unbroken run")
    return 0 if equal == made else 1


if __name__ == "__main__":
    sys.exit(main())
