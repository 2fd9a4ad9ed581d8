import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ppo.system.signals import (
    REPEAT_SECONDS,
    StopRequest,
    StopSignal,
    ctrl_c_raises,
    interrupt_ends,
    is_signal,
    on_stop,
    raise_stop,
)

ROOT = Path(__file__).parents[2]
NOT_SAVED = 1  # 3 is for a stop with everything saved
ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

# Each keeps the main thread inside one call of C for some seconds; a thread tells when
# the request was noticed. Both let go of Python's lock, as TensorFlow does.
CALLS = {
    "hash": "hashlib.pbkdf2_hmac('sha512', b'a', b'b', size)",
    "numpy": "np.convolve(np.ones(size), np.ones(3000))",
}
COMPUTE = """
import hashlib, sys, threading, time
import numpy as np
from ppo.system import signals
from ppo.system.signals import StopRequest

signals.GRACE_SECONDS = signals.DEADLINE_SECONDS = 100  # a busy machine makes the call last

def call(size):
    return CALL

def seconds(size):
    # Of the processor, the quickest of three: on a busy machine, or as the first, a call takes
    # longer, and the one that is made to measure would be too short.
    began = time.thread_time()
    call(size)
    return time.thread_time() - began

size = int(LENGTH / min(seconds(20_000) for _ in range(3)) * 20_000)

def tell():
    while not stop():
        time.sleep(0.005)
    print("noticed", flush=True)

with StopRequest() as stop:
    threading.Thread(target=tell, daemon=True).start()
    print("computing", flush=True)
    call(size)
    print("computed", flush=True)
    print("stop" if stop() else "go on", flush=True)
"""


@contextmanager
def computing(kind: str, seconds: float = 1.5, stop: str = "StopRequest()"):
    script = COMPUTE.replace("CALL", CALLS[kind]).replace("LENGTH", str(seconds))
    script = script.replace("StopRequest()", stop)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        time.sleep(0.2)  # until the call is under way
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("kind", CALLS)
def test_first_signal_is_noticed_inside_one_long_c_call(kind):
    with computing(kind) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "noticed\n"
        assert process.stdout.read() == "computed\nstop\n"
        assert process.wait() == 0


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)]
)
def test_second_signal_ends_the_process_at_once_inside_a_c_call(numbers):
    with computing("hash", seconds=10) as process:
        process.send_signal(numbers[0])
        assert process.stdout.readline() == "noticed\n"
        time.sleep(2 * REPEAT_SECONDS)
        process.send_signal(numbers[1])
        assert process.wait() == NOT_SAVED
        assert process.stdout.read() == "", "the call was not broken off"


def test_a_second_signal_changes_nothing_where_it_may_come_from_another_process():
    with computing("hash", stop="StopRequest(second_ends=False)") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "noticed\n"
        time.sleep(2 * REPEAT_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "computed\nstop\n"
        assert process.wait() == 0


def test_ctrl_c_ends_a_call_that_keeps_pythons_lock():
    script = """
import ctypes
from ppo.system.signals import interrupt_ends
with interrupt_ends():
    print("waits", flush=True)
    ctypes.PyDLL(None).sleep(600)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == -signal.SIGINT
        finally:
            process.kill()


def test_ctrl_c_is_handled_as_before_afterwards():
    before = signal.getsignal(signal.SIGINT)
    with interrupt_ends():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == before


def test_a_request_that_timeout_sends_twice_is_one():
    with computing("hash") as process:
        # Two numbers, since the system merges two signals of one number that were not taken yet.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "noticed\ncomputed\nstop\n"
        assert process.wait() == 0


def wait_until(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


@pytest.mark.parametrize("number", ALL)
def test_signal_sets_the_flag_and_raises_nothing(number):
    with StopRequest() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert wait_until(stop)


def test_other_signals_do_not_ask_for_a_stop():
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not wait_until(stop, 0.1)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("asked", [False, True])
def test_handlers_and_wakeup_are_as_before_afterwards(asked):
    handlers = [signal.getsignal(number) for number in ALL]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with StopRequest() as stop:
        assert [signal.getsignal(number) for number in ALL] != handlers
        if asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert wait_until(stop)
    assert [signal.getsignal(number) for number in ALL] == handlers
    assert signal.set_wakeup_fd(wakeup) == wakeup


def test_handlers_are_as_before_after_an_error():
    handlers = [signal.getsignal(number) for number in ALL]
    with pytest.raises(ZeroDivisionError), StopRequest():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in ALL] == handlers


def test_nothing_is_left_behind():
    def used() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    # What an earlier test began may still be ending, so there may be less afterwards.
    before = used()
    for _ in range(20):
        with StopRequest():
            pass
    assert wait_until(lambda: all(map(int.__le__, used(), before)))


def test_a_forked_process_can_be_ended_without_a_stop_of_its_parent():
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()
    with StopRequest() as stop:
        child = fork.Process(target=lambda: (begun.set(), time.sleep(60)), daemon=True)
        child.start()
        begun.wait()
        child.terminate()
        child.join(5)
        assert child.exitcode == -signal.SIGTERM
        assert not wait_until(stop, 0.1)


def test_one_request_does_not_carry_over_to_the_next():
    with StopRequest() as first:
        os.kill(os.getpid(), signal.SIGTERM)
        assert wait_until(first)
    with StopRequest() as second:
        assert not second()


def test_a_hangup_that_is_ignored_as_nohup_asks_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not wait_until(stop, 0.1)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone():
    handlers = [signal.getsignal(number) for number in ALL]
    seen = []

    def use() -> None:
        with StopRequest() as stop, on_stop(raise_stop), interrupt_ends(), ctrl_c_raises():
            seen.extend([stop(), [signal.getsignal(number) for number in ALL] == handlers])

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [False, True]


def test_ctrl_c_is_distinguished_from_an_interrupt_that_code_raises():
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c_raises():
        with pytest.raises(StopSignal) as caught:
            signal.raise_signal(signal.SIGINT)
        assert is_signal(caught.value) and not is_signal(KeyboardInterrupt())
    assert signal.getsignal(signal.SIGINT) == before
