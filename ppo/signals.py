"""SIGINT and SIGTERM as a request to stop, noticed even while the main thread computes."""

import os
import signal
import socket
import threading
from collections.abc import Callable

NOT_SAVED, SAVED = 1, 3  # exit codes: of a second signal, and of a stop with everything saved
GRACE_SECONDS = 7.0  # for the main thread to come to its end; ten are promised


class Interrupted(Exception):
    """What was under way was broken off on request; nothing of it is kept."""


class StopRequest:
    """While the context lasts, the first SIGINT or SIGTERM sets a flag; a second ends at once.

    ``last_resort`` is called, from a thread, if the context still lasts GRACE_SECONDS after the
    first; by default it ends the process, which has nothing to save yet.

    Python runs a signal's handler only between two of its own instructions, and an update is
    a single one that takes seconds. So the signals are read, as bytes, by a thread.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self.last_resort: Callable[[], None] = lambda: os._exit(SAVED)
        self._timer = threading.Timer(GRACE_SECONDS, lambda: self.last_resort())
        self._timer.daemon = True

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._requested.is_set()

    def __enter__(self) -> "StopRequest":
        threading.Thread(target=self._listen, daemon=True).start()
        self._fd_before = signal.set_wakeup_fd(self._writer.fileno())
        self._handlers_before = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._timer.cancel()
        self._writer.close()

    def _listen(self) -> None:
        while number := self._reader.recv(1):
            if number[0] not in (signal.SIGINT, signal.SIGTERM):
                continue
            if self._requested.is_set():
                os._exit(NOT_SAVED)
            self._requested.set()
            self._timer.start()
        self._reader.close()
