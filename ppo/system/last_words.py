"""Show a crashed process's held back messages: ``python -I -S last_words.py FD``.

The messages are in the file FD. Standard input ends when the process ends, or when it is safe.
"""

import os
import sys

CRASH = b"Fatal Python error: "  # faulthandler begins with it, whatever the signal
# Lines of a stack in C++, which help no user.
STACK = (b"    @ ", b"*** Check failure stack trace")


def readable(held: bytes) -> bytes:
    """Return the message of a process with the given messages; empty unless it crashed."""
    words, crashed, rest = held.partition(CRASH)
    if not crashed:
        return b""
    lines = [line for line in words.splitlines(keepends=True) if not line.startswith(STACK)]
    return b"%sTensorFlow ended this process as it started (%s). %s\n" % (
        b"".join(lines),
        rest.splitlines()[0],
        b"Most often there is too little memory, as with ulimit -v, or the processor has no AVX",
    )


def main() -> None:
    """Wait for the end of the process, and show its last words."""
    sys.stdin.buffer.read()
    held = int(sys.argv[1])
    os.write(2, readable(os.pread(held, os.fstat(held).st_size, 0)))


if __name__ == "__main__":
    main()
