"""SIGINT, SIGTERM and SIGHUP as a request to stop, noticed even while the main thread computes."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NoReturn

from ppo.errors import ExitCode

# A stop never takes more than ten seconds: the main thread has GRACE_SECONDS to finish, then the
# last resort has until DEADLINE_SECONDS.
GRACE_SECONDS, DEADLINE_SECONDS = 7.0, 9.5
REPEAT_SECONDS = 0.3  # signals within this time are one request

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last may be ignored


class Interrupted(Exception):
    """The work was interrupted on request; none of it is kept."""


class StopSignal(KeyboardInterrupt):
    """A signal asked to stop. An environment may raise KeyboardInterrupt without any signal."""


def raise_stop(*_: object) -> NoReturn:
    """Raise StopSignal (a signal handler)."""
    raise StopSignal


def is_signal(error: BaseException) -> bool:
    """Whether a signal caused the error, as far as this can be known."""
    if type(error) is not KeyboardInterrupt or not _in_main_thread():
        return isinstance(error, StopSignal)
    # Python's own handler leaves no other trace.
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _in_main_thread() -> bool:
    """Whether this is the main thread: Python lets no other thread set signal handlers."""
    return threading.current_thread() is threading.main_thread()


def restore_signals() -> None:
    """Undo what this process may have been started with: an ignored SIGCHLD, with which every child
    would count as successful, and blocked STOPS, which its children would inherit.
    """
    if _in_main_thread():
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


@contextmanager
def _handled(numbers: Iterable[signal.Signals], handler: Any) -> Iterator[Collection[int]]:
    """Set a handler while the context lasts; outside the main thread set none."""
    before = {number: signal.signal(number, handler) for number in numbers if _in_main_thread()}
    try:
        yield before.keys()
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def ctrl_c_raises() -> AbstractContextManager[object]:
    """Make Ctrl-C raise StopSignal rather than KeyboardInterrupt."""
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return _handled([signal.SIGINT] * is_default, raise_stop)


def on_stop(handler: Callable[..., Any]) -> AbstractContextManager[Collection[int]]:
    """Call ``handler`` for each request to stop, in the main thread, while the context lasts. An
    ignored SIGHUP remains ignored, as nohup requires.
    """
    hangup_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return _handled(STOPS[:-1] if hangup_ignored else STOPS, handler)


@contextmanager
def stop_interrupts() -> Iterator[None]:
    """Raise StopSignal at a request to stop, while the context lasts. One request interrupts once,
    even if it sends several signals, so the cleanup is not disturbed.
    """
    requests = Requests()
    with on_stop(lambda *_: requests.register() and raise_stop()):
        yield


def interrupt_ends() -> AbstractContextManager[object]:
    """Let Ctrl-C end the process at once, even in a call that keeps Python's lock."""
    return _handled([signal.SIGINT], signal.SIG_DFL)


class Requests:
    """Distinguish a new request from a second signal of one request, as ``timeout`` sends."""

    def __init__(self) -> None:
        self._first: float | None = None

    def register(self) -> bool:
        """Note a signal; return whether it is a new request."""
        now, first = time.monotonic(), self._first
        self._first = now if first is None else first
        return first is None or now > first + REPEAT_SECONDS


class StopRequest:
    """While the context lasts, the first of STOPS sets a flag. A second one ends the process, if
    ``second_ends``, unless it belongs to the same request.

    ``last_resort`` is called, from a thread, if the context still lasts GRACE_SECONDS after the
    first. By default it ends the process, which has nothing to save yet. If the process still runs
    at DEADLINE_SECONDS, it is ended and saves nothing more.

    Python runs signal handlers only between its own instructions, and an update is a single
    instruction that takes seconds. A thread therefore reads the signals, as bytes from a socket.
    Outside the main thread, where Python handles none, a request receives none.
    """

    def __init__(self, second_ends: bool = True) -> None:
        self.second_ends = second_ends
        self._requested, self._ending = threading.Event(), ExitStack()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self.last_resort: Callable[[], None] = lambda: os._exit(ExitCode.STOPPED)
        self._timers = [
            threading.Timer(GRACE_SECONDS, lambda: self.last_resort()),
            threading.Timer(DEADLINE_SECONDS, _give_up),
        ]
        for timer in self._timers:
            timer.daemon = True

    def __call__(self) -> bool:
        return self._requested.is_set()

    def __enter__(self) -> "StopRequest":
        if _in_main_thread():
            self._ending.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._writer.fileno()))
        self._numbers = self._ending.enter_context(on_stop(lambda *_: None))
        _open.add(self)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _open.discard(self)
        self._ending.close()
        for timer in self._timers:
            timer.cancel()
        self._writer.close()

    def leave(self) -> None:
        """Leave the requests to the parent, in a forked process: SIGTERM ends the process. Still
        ignore SIGINT and SIGHUP, which a terminal also sends to the parent.
        """
        if self._numbers:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()

    def _listen(self) -> None:
        requests = Requests()
        while number := self._reader.recv(1):
            if number[0] not in self._numbers or not requests.register():
                continue
            if self._requested.is_set():
                if self.second_ends:
                    os._exit(ExitCode.FAILED)
            else:
                self._requested.set()
                for timer in self._timers:
                    timer.start()
        self._reader.close()


_open: set[StopRequest] = set()  # whose context lasts


def _leave_all() -> None:
    while _open:
        _open.pop().leave()


os.register_at_fork(after_in_child=_leave_all)  # an environment may fork


def _give_up() -> None:
    """End the process, whatever it waits for, and say so if stderr accepts output."""
    if select.select([], [2], [], 0)[1]:
        os.write(2, b"stopped, but the last steps could not be saved in time\n")
    os._exit(ExitCode.FAILED)
