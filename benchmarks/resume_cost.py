"""What exact resume costs: a checkpoint's size, seconds to save and to resume, in mid-game.

    python -m benchmarks.resume_cost --set network=a3c

8 games of Pong, each about 500 steps old, which is the middle of a first game.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.reference import reference
from ppo.process.device import start_tensorflow


def main() -> None:
    """Play, save, resume, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    settings = reference(["num_epochs=1", *parser.parse_args().set])
    start_tensorflow(settings.threads)

    from ppo import checkpoint
    from ppo.files.folder import RunFolder
    from ppo.trainer import Trainer

    trainer = Trainer(settings)
    iterations = trainer.iterations()
    for _ in range(-(-500 // settings.num_steps)):
        next(iterations)
    copied = []
    for _ in range(10):  # the first finds new memory
        began = time.perf_counter()
        trainer.state()
        copied.append(time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name))
        began = time.perf_counter()
        path = checkpoint.save(folder, trainer.state(), kept=3)
        saved = time.perf_counter() - began
        size = path.stat().st_size
        trainer.close()
        resumed = Trainer(settings)
        began = time.perf_counter()
        resumed.restore(checkpoint.newest(folder))
        restored = time.perf_counter() - began
    result = {
        "network": settings.network,
        "steps_of_the_games": [len(actions) for actions in trainer.state().group("actions")],
        "seconds_to_copy_the_state": [copied[0], statistics.median(copied[1:])],
        "checkpoint_bytes": size,
        "seconds_to_save": saved,
        "seconds_to_restore": restored,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
