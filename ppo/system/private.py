"""Descriptors that are this process's alone: a process that an environment forks closes them.

Otherwise it would keep the locks after this process has ended, and pipes and sockets open.
"""

import os

private: set[int] = set()


def _close_all() -> None:
    while private:
        os.close(private.pop())


os.register_at_fork(after_in_child=_close_all)
