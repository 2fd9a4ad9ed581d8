"""What the machine has: memory, threads, bfloat16, a GPU."""

import itertools
import math
import os
from contextlib import suppress
from pathlib import Path

from ppo.system.numerics import CPU_INFO

CGROUP = Path("/sys/fs/cgroup")
GPU_DRIVER = Path("/proc/driver/nvidia")
DEVICES = Path("/dev")
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


def default_threads(processes: int = 1) -> int:
    """Return the number of threads: one a core, at most 8; the ``processes`` share the cores."""
    affinity = getattr(os, "sched_getaffinity", None)  # only Linux has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores // processes, 8))


def available_memory() -> float:
    """Return the bytes that a process can still take, in a container too; infinite if unknown."""
    try:
        with open("/proc/meminfo") as file:
            rows = (row.split() for row in file)
            whole = 1024.0 * next(int(row[1]) for row in rows if row[0] == "MemAvailable:")
    except (OSError, StopIteration):
        whole = math.inf
    return min(whole, _memory_of_container())


def _memory_of_container() -> float:
    """Return the unused part of a container's memory limit; cached files count as unused."""
    try:
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        facts = dict(row.split() for row in (CGROUP / "memory.stat").read_text().splitlines())
        return max(0.0, limit - used + int(facts["inactive_file"]))
    except (OSError, ValueError, KeyError):  # there is no container, or no limit
        return math.inf


def processor_has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16; False if the system does not say."""
    return not _processor().isdisjoint(["avx512_bf16", "amx_bf16"])


def bfloat16_is_faster() -> bool:
    """Whether the processor computes faster in bfloat16 than in float32: with AMX, or AVX512-BF16
    of AMD. With Intel's AVX512-BF16 alone it is slower (docs/performance.md).
    """
    words = _processor()
    return "amx_bf16" in words or {"AuthenticAMD", "avx512_bf16"} <= words


def _processor() -> set[str]:
    """Return what the system says of the processor, word by word; empty if it says nothing."""
    with suppress(OSError):
        return set(CPU_INFO.read_text().split())
    return set()


def has_gpu_driver() -> bool:
    """Whether an NVIDIA GPU's driver is present, which is known before TensorFlow is imported."""
    return GPU_DRIVER.exists()


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them. If it is
    unset, return all NVIDIA GPUs of the machine. They are known before TensorFlow is imported.
    """
    if (given := os.environ.get(VISIBLE_GPUS)) is not None:
        names = [name.strip() for name in given.split(",")]
        return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))
    return [str(number) for number in range(len(list(DEVICES.glob("nvidia[0-9]*"))))]


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def precision_remark(precision: str) -> str | None:
    """Return a message if this machine emulates the precision of the run, begun elsewhere."""
    if precision == "float32" or processor_has_bfloat16() or has_gpu_driver():
        return None
    return (
        "this processor emulates bfloat16, which is slow and gives different bits; use --set "
        "precision=float32 in a new run or a fork"
    )


def gpu_remark() -> str | None:
    """Return a message if there is a GPU that TensorFlow, already started, does not find."""
    if not (has_gpu_driver() and visible_gpus()) or has_gpu():
        return None
    return (
        "this machine has an NVIDIA GPU that TensorFlow does not find, so the run computes on the "
        "processor; install its libraries with: pip install 'tensorflow[and-cuda]'"
    )


def shards(threads: int) -> int:
    """Return the number of parallel slices of a batch: one per thread, and one on a GPU."""
    return 1 if has_gpu() else threads
