"""Measure a few real iterations of a run, in a temporary folder."""

import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo import checkpoint
from ppo.errors import ExitCode, PPOError
from ppo.files.folder import EVENTS, RunFolder
from ppo.settings import ResolvedParams
from ppo.system.children import RUN_ATARI, running
from ppo.telemetry import progress

# Measuring ends after this many iterations and this many seconds since the first one ended.
FEWEST_ITERATIONS, SECONDS = 4, 10.0
# Measuring also ends after this many seconds, even with fewer iterations or no evaluation.
LONGEST = 90.0


class ProbeError(PPOError):
    """The short run failed. The message and ``code`` are the run's own."""

    def __init__(self, message: str, code: int):
        self.code = ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED
        super().__init__(message)


@dataclass(frozen=True)
class Probe:
    """Measurements; ``rows`` are the defined scalars of each iteration, sizes are in bytes."""

    rows: list[progress.Row]
    num_weights: int
    num_actions: int
    peak_memory: int
    checkpoint_size: int
    log_size: int

    @property
    def game_steps(self) -> float | None:
        """Mean length of the games that ended, if any did."""
        tags = ("eval/mean_ep_length", "rollout/ep_len_mean")
        lengths = [row[tag] for tag in tags for row in self.rows[::-1] if tag in row]
        return lengths[0] if lengths else None


def probe(params: ResolvedParams) -> Probe:
    """Train for about ten seconds after the first iteration, in another process. The diagnoses and
    the evaluation of the settings are included. Raises ProbeError.
    """
    with tempfile.TemporaryDirectory(prefix="ppo-check-") as folder:
        run = RunFolder(Path(folder, "run"))
        settings = Path(folder, "params.json")
        settings.write_text(_short(params).to_json())
        command = [*RUN_ATARI, f"--logdir={run.path}", f"--pfile={settings}"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "errors": "replace"}
        with ThreadPoolExecutor(1) as reader, running(command, **streams) as process:
            assert process.stdout
            # To its end; another process survives a crash in TensorFlow.
            output = reader.submit(process.stdout.read)
            peak = _watch(process, run, bool(params.evaluation_interval))
        if process.returncode not in (ExitCode.DONE, ExitCode.STOPPED):
            raise ProbeError(output.result().strip(), process.returncode)
        weights = checkpoint.newest(run).group("weights")
        logs = [run.progress, *run.path.glob(EVENTS)]
        return Probe(
            rows=progress.numbers(run.path),
            num_weights=sum(array.size for array in weights),
            num_actions=weights[-1].size,
            peak_memory=peak,
            checkpoint_size=max(run.checkpoints.glob("step-*.ckpt")).stat().st_size,
            log_size=sum(path.stat().st_size for path in logs),
        )


def _short(params: ResolvedParams) -> ResolvedParams:
    """Return the settings with the diagnoses and an evaluation done early, and without videos,
    replay checks and a copy at Weights & Biases.
    """
    batch = params.batch_size
    changed: dict[str, Any] = {
        "log_interval": 1,
        "video_interval": 0,
        "replay_check_interval": 0,
        "wandb_project": None,
        "diagnostics_interval": 2 * batch if params.diagnostics_interval else 0,
        "evaluation_interval": 3 * batch if params.evaluation_interval else 0,
        "evaluation_games": min(params.evaluation_games, params.num_envs),
    }
    return ResolvedParams(**(params.model_dump() | changed))


def _watch(process: subprocess.Popen, run: RunFolder, evaluates: bool) -> int:
    """Wait until enough is measured or the process ends. Return its peak memory."""
    began, peak = None, 0
    while process.poll() is None:
        time.sleep(0.1)
        peak = max(peak, peak_memory(process.pid))
        if rows := progress.numbers(run.path):
            began = began or time.monotonic()
            seconds = time.monotonic() - began
            evaluated = not evaluates or any("eval/mean_reward" in row for row in rows)
            enough = len(rows) >= FEWEST_ITERATIONS and seconds > SECONDS and evaluated
            if enough or seconds > LONGEST:
                break
    return peak


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process in bytes; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
