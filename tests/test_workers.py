"""Two workers as real processes: what they compute, what is open, and what happens if one hangs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ppo import checkpoint, model
from ppo.drill import __main__ as drill
from ppo.errors import ExitCode
from ppo.files.folder import RunFolder
from ppo.system.children import RUN_ATARI
from ppo.telemetry import progress
from ppo.update import INITIAL_RESCALING_STATE, Updater
from ppo.workers.cluster import TF_CONFIG
from ppo.workers.launch import inherited, linked
from tests.forked import Forked
from tests.listening import listening
from tests.processes import workers_of
from tests.test_update import batch
from tests.two_workers import CASES, KEY, SHIFT, arrays, params_of, shared_by_two

ROOT = Path(__file__).parents[1]
SLOW_SAVE = [sys.executable, "-m", "tests.slow_save"]
SHORT = drill.SHORT_CART_POLE | {"num_envs": 2, "total_steps": 1024, "checkpoint_interval": 128}


def found_by_two(
    folder: Path, begin: Callable[[list[list[str]]], list], cases: Iterable[str]
) -> list[dict[str, np.ndarray]]:
    """What each of two workers found, which begin with a list of arguments each."""
    data = folder / "batch.npz"
    np.savez(data, **{name: t.numpy() for name, t in batch(128)._asdict().items()})
    places = [folder / f"{index}.npz" for index in range(2)]
    processes = begin([[str(data), str(place), *cases] for place in places])
    try:
        assert [process.wait(300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
    return [dict(np.load(place)) for place in places]


def with_links(lines: Sequence[list[str]]) -> list[subprocess.Popen]:
    """Processes that are joined as ``--workers`` joins them."""
    command = [sys.executable, "-m", "tests.two_workers"]
    with linked(len(lines)) as links:
        return [
            subprocess.Popen([*command, *line], cwd=ROOT, **inherited(link))
            for line, link in zip(lines, links, strict=True)
        ]


def with_ports(lines: Sequence[list[str]], module: str = "tests.two_workers") -> list[Forked]:
    """Processes that TensorFlow joins on this machine."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(lines))]
    return [
        Forked(line, ROOT, {**os.environ, TF_CONFIG: config(index, addresses)}, module=module)
        for index, line in enumerate(lines)
    ]


def config(index: int, addresses: Sequence[str]) -> str:
    """What TF_CONFIG says to a worker."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(addresses)}, "task": task})


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:  # until all are known
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory) -> list[dict[str, np.ndarray]]:
    """What each of two workers of this machine found."""
    return found_by_two(tmp_path_factory.mktemp("workers"), with_links, CASES)


def test_workers_of_several_machines_compute_the_same_bits(of_two, tmp_path):
    several = found_by_two(tmp_path, with_ports, ["smoothed", "early exit"])
    for own, others in zip(of_two, several, strict=True):
        assert len(others) > 40 and others.keys() < own.keys()
        for key, array in others.items():
            np.testing.assert_array_equal(array, own[key], key)


def test_each_worker_hears_all_others_and_the_first(of_two):
    for found in of_two:
        assert found["gathered"].tobytes() == b"abc|abcd|from the first"


@pytest.mark.parametrize("case", CASES)
def test_workers_hold_the_same_bits(of_two, case):
    first, second = ({k: a for k, a in f.items() if k.startswith(f"{case}/")} for f in of_two)
    assert first.keys() == second.keys() and len(first) > 20
    for key, array in first.items():
        np.testing.assert_array_equal(array, second[key], key)


@pytest.mark.parametrize("case", CASES)
def test_a_minibatch_that_is_shared_out_gives_what_one_worker_makes_of_it(
    of_two, case, monkeypatch
):
    shuffle = tf.random.experimental.stateless_shuffle
    params = params_of(case, num_envs=8, num_minibatches=shared_by_two(case).minibatches_per_epoch)

    def same_samples_in_the_same_minibatches(_, seed):
        orders = [shuffle(tf.range(64), seed + n * SHIFT) + n * 64 for n in range(2)]
        parts = [tf.reshape(order, [params.num_minibatches, -1]) for order in orders]
        return tf.reshape(tf.concat(parts, 1), [-1])

    monkeypatch.setattr(
        tf.random.experimental, "stateless_shuffle", same_samples_in_the_same_minibatches
    )
    updater = Updater(model.build((3,), 4, "mlp"), params, 1)
    result = updater.update(batch(128), KEY, 0.01, 0.1, INITIAL_RESCALING_STATE)
    assert (len(result.by_minibatch("approx_kl")) == 2) == (case == "early exit")
    for key, wanted in arrays(updater, result).items():
        found = of_two[0][f"{case}/{key}"]
        assert found.shape == wanted.shape, key
        scale = np.linalg.norm(wanted)
        # Adam's first moment after one step is the gradient.
        limit = 1e-5 if case == "one gradient" and key.startswith("moments/") else 2e-4
        assert np.linalg.norm(found - wanted) <= limit * scale + 1e-6, key


def running(logdir: Path) -> list[int]:
    """The processes of a run: its starter and its workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if f"--logdir={logdir}" in (process / "cmdline").read_text().split("\0"):
                found.append(int(process.name))
    return found


@contextmanager
def started(
    logdir: Path, settings: dict, command: Sequence[str] = RUN_ATARI
) -> Iterator[subprocess.Popen]:
    pfile = logdir.parent / f"{logdir.name}.json"
    pfile.write_text(json.dumps(settings))
    process = subprocess.Popen(
        [*command, f"--logdir={logdir}", f"--pfile={pfile}", "--workers=2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:  # a test that fails leaves nothing running, nor waits for it
        for pid in running(logdir):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def wait_for(process: subprocess.Popen, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_open_no_port_and_one_that_hangs_is_ended_and_the_run_ends_as_the_unbroken_one(
    tmp_path,
):
    (tmp_path / "short.json").write_text(json.dumps(SHORT))
    line = [f"--logdir={tmp_path / 'unbroken'}", f"--pfile={tmp_path / 'short.json'}"]
    unbroken = with_ports([line, line], "run_atari")
    assert [process.wait() for process in unbroken] == [0, 0]

    saved = tmp_path / "broken" / "checkpoints"
    with started(tmp_path / "broken", SHORT) as broken:
        wait_for(broken, lambda: list(saved.glob("step-*128.ckpt")))
        open_ports = {pid: listening(pid) for pid in running(tmp_path / "broken")}
        os.kill(workers_of(broken.pid)[1], signal.SIGSTOP)
        said, _ = broken.communicate(timeout=300)
    assert broken.returncode == 0, said
    assert "worker 1 is stopped (SIGSTOP)" in said and "all start again" in said
    assert "2 workers" in said and said.count("done, at step 1,024") == 1
    assert drill.fingerprint(tmp_path / "broken") == drill.fingerprint(tmp_path / "unbroken")
    assert len(open_ports) >= 3 and not any(open_ports.values())  # the starter and two workers

    alone = subprocess.run(
        [*RUN_ATARI, f"--logdir={tmp_path / 'broken'}", "--resume"], capture_output=True, text=True
    )
    assert alone.returncode == ExitCode.REFUSED and "--workers=2" in alone.stderr


# It saves at a stop alone, and each iteration is in its log.
ENDLESS = SHORT | {"total_steps": 10**7, "checkpoint_interval": 10**7, "log_interval": 128}


@pytest.mark.parametrize(
    ("number", "whom", "code"),
    [
        (signal.SIGTERM, "worker 1", ExitCode.STOPPED),
        (signal.SIGKILL, "the starter", -signal.SIGKILL),
    ],
)
def test_a_signal_to_one_process_of_the_run_stops_and_saves_all_of_it(number, whom, code, tmp_path):
    logdir = tmp_path / "run"
    with started(logdir, ENDLESS) as process:
        wait_for(process, lambda: progress.numbers(logdir))
        asked = time.monotonic()
        os.kill(process.pid if whom == "the starter" else workers_of(process.pid)[1], number)
        said, _ = process.communicate(timeout=60)  # until the first worker has ended
        while left := running(logdir):
            assert time.monotonic() < asked + 60, left
            time.sleep(0.02)
        seconds = time.monotonic() - asked
    assert (process.returncode, seconds < 15) == (code, True), (seconds, said)
    saved = checkpoint.newest(RunFolder(logdir)).step
    assert saved == progress.numbers(logdir)[-1]["step"] > 0


def test_the_first_worker_saves_though_the_others_end_before_it(tmp_path):
    logdir = tmp_path / "run"
    with started(logdir, ENDLESS, SLOW_SAVE) as process:
        wait_for(process, lambda: progress.numbers(logdir))
        os.kill(workers_of(process.pid)[0], signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.STOPPED, said
    assert checkpoint.newest(RunFolder(logdir)).step == progress.numbers(logdir)[-1]["step"] > 0


def alone_of_two(index: int, addresses: list[str], logdir: Path) -> subprocess.Popen:
    """One of two workers that no process started together."""
    return subprocess.Popen(
        [*RUN_ATARI, f"--logdir={logdir}", "--env=CartPole-v1", "--set=threads=1"],
        env={**os.environ, TF_CONFIG: config(index, addresses)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_without_a_starter_workers_say_what_is_open_and_miss_one_that_hangs(tmp_path):
    ports = free_ports(2)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    workers = [alone_of_two(index, addresses, tmp_path / "run") for index in range(2)]
    try:
        wait_for(workers[0], lambda: progress.numbers(tmp_path / "run"))
        assert [listening(worker.pid) for worker in workers] == [{port: False} for port in ports]
        workers[1].send_signal(signal.SIGSTOP)
        said, _ = workers[0].communicate(timeout=120)
    finally:
        for worker in workers:
            worker.kill()
    assert workers[0].returncode == ExitCode.LOST and "worker 1 of the run was lost" in said
    assert said.startswith(f"TensorFlow opens TCP port {ports[0]} on all network interfaces")
    assert workers[1].communicate()[0].startswith(f"TensorFlow opens TCP port {ports[1]}")


def test_an_address_that_is_in_use_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        first = alone_of_two(0, [address, "127.0.0.1:9"], tmp_path / "run")
        said, _ = first.communicate(timeout=300)
    assert first.returncode == ExitCode.REFUSED
    assert (
        "worker 0 cannot be connected" in said
        and "port that is free" in said
        and "Traceback" not in said
    )
    assert not (tmp_path / "run").exists()


def takes_sigterm(pid: int) -> bool:
    """Whether a process waits in TensorFlow, which takes SIGTERM for itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)


def test_ctrl_c_ends_a_worker_that_waits_for_another(tmp_path):
    (port,) = free_ports(1)
    first = alone_of_two(0, [f"127.0.0.1:{port}", "127.0.0.1:9"], tmp_path / "run")
    try:
        wait_for(first, lambda: takes_sigterm(first.pid))
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == -signal.SIGINT
    finally:
        first.kill()
        first.communicate()
    assert not (tmp_path / "run").exists()
