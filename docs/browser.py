"""Chromium without a window, controlled through a pair of pipes."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from ppo.errors import PPOError

# The program reads messages from its file descriptor 3 and writes them to 4, each with a zero byte
# at its end.
_WITH_PIPES = """
import os, sys
read, write, *command = sys.argv[1:]
os.dup2(int(read), 3)
os.dup2(int(write), 4)
os.execv(command[0], command)
"""


class BrowserError(PPOError):
    """The browser ended, or does not obey."""


class Browser:
    """A browser with one page of a size; a context, which ends it."""

    def __init__(self, program: str, size: tuple[int, int]):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, self._out = os.pipe()
        self._in, write = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--no-first-run", f"--user-data-dir={self._profile.name}"]
        launch = [sys.executable, "-c", _WITH_PIPES, str(read), str(write), program]
        self._process = subprocess.Popen(
            [*launch, *options, "--remote-debugging-pipe"],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._size, self._session, self._number, self._heard = size, "", 0, b""

    def __enter__(self) -> "Browser":
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        except BaseException:
            self.close()
            raise
        self._session = attached["sessionId"]
        width, height = self._size
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **sizes)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def visit(self, address: str, seconds: float) -> None:
        """Go to an address and give the page some time."""
        self._call("Page.navigate", url="about:blank")  # else a change after # loads nothing
        self._call("Page.navigate", url=address)
        time.sleep(seconds)

    def run(self, script: str) -> None:
        """Run JavaScript in the page."""
        self._call("Runtime.evaluate", expression=script)

    def picture(self) -> bytes:
        """The page as it is seen now, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        try:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        except BrokenPipeError as error:
            raise BrowserError("the browser ended") from error
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            raise BrowserError(f"the browser refuses {method}: {answer['error']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        """The next message: an answer, or an event, which nobody waits for."""
        while b"\0" not in self._heard:
            part = os.read(self._in, 65_536)
            if not part:
                raise BrowserError("the browser ended")
            self._heard += part
        message, _, self._heard = self._heard.partition(b"\0")
        return json.loads(message)
