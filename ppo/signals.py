"""SIGINT and SIGTERM as a request to stop, noticed even while the main thread computes."""

import os
import signal
import socket
import threading

NOT_SAVED = 1  # exit code of a second signal


class Interrupted(Exception):
    """What was under way was broken off on request; nothing of it is kept."""


class StopRequest:
    """While the context lasts, the first SIGINT or SIGTERM sets a flag; a second ends at once.

    Python runs a signal's handler only between two of its own instructions, and an update is
    a single one that takes seconds. So the signals are read, as bytes, by a thread.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

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
        self._writer.close()

    def _listen(self) -> None:
        while number := self._reader.recv(1):
            if number[0] not in (signal.SIGINT, signal.SIGTERM):
                continue
            if self._requested.is_set():
                os._exit(NOT_SAVED)
            self._requested.set()
        self._reader.close()
