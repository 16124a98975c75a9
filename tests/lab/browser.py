"""A real browser: Chromium without a screen, steered over a pipe by its own DevTools protocol.

The protocol (chromedevtools.github.io/devtools-protocol, `--remote-debugging-pipe`) is JSON ended by a NUL, on the
descriptors 3 and 4. It is spoken here one command at a time: what a page reports meanwhile is kept in `reports`.
The browser has a profile of its own, asks nobody for updates, and ends with the block.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from . import run
from .programs import program
from .waiting import wait_until

FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none, and the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-default-apps",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
LAUNCH = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
"""Put the pipes where Chromium looks for them, and become it."""
ANSWER_SECONDS = 30.0
REPORTS = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Page.javascriptDialogOpening")


class Browser:
    """One browser with one page at a time."""

    def __init__(self) -> None:
        self._folder = run.scratch("chromium")
        own_in, self._to = _pipe()
        self._from, own_out = _pipe()
        command = [program("chromium", package="chromium"), *FLAGS, f"--user-data-dir={self._folder}", "about:blank"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(own_in), str(own_out), *command],
                pass_fds=(own_in, own_out),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(own_in)
        os.close(own_out)
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self._has_loaded = False
        self.reports: list[str] = []
        """What pages complained of, such as breaches of their policy, and what their scripts said or threw."""

    def open(
        self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True
    ) -> None:
        """Open an address in a new page of that size, and wait until it has loaded."""
        target = self._ask("Target.createTarget", {"url": "about:blank"}, session=None)["targetId"]
        attached = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True}, session=None)
        self._session = attached["sessionId"]
        self.reports = []
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.go(address)

    def go(self, address: str) -> None:
        """Go to another address in the same page."""
        self._has_loaded = False
        answer = self.ask("Page.navigate", url=address)
        assert "errorText" not in answer, f"{address}: {answer['errorText']}"
        self._wait(lambda: self._has_loaded)

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; it is waited for if it is a promise."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def shoot(self, file: Path, *, whole: bool = True) -> None:
        """Take a picture, of the whole page unless told otherwise."""
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Give the page a command and return what it answers."""
        return self._ask(method, parameters, session=self._session)

    def _ask(self, method: str, parameters: Mapping[str, object], *, session: str | None) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answers: list[dict[str, Any]] = []
        self._wait(lambda: bool(answers), answers=answers)
        assert "error" not in answers[0], f"{method}: {answers[0]['error']}"
        result: dict[str, Any] = answers[0]["result"]
        return result

    def _wait(self, is_done: Any, *, answers: list[dict[str, Any]] | None = None) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not is_done():
            *whole, self._unread = self._unread.split(b"\0")
            for message in whole:
                self._take(json.loads(message), answers)
            if is_done():
                return
            left = deadline - time.monotonic()
            assert left > 0, f"the browser does not answer: {(self._folder / 'log').read_text()[-2000:]}"
            if select.select([self._from], [], [], left)[0]:
                read = os.read(self._from, 1 << 20)
                assert read, f"the browser has ended: {(self._folder / 'log').read_text()[-2000:]}"
                self._unread += read

    def _take(self, message: dict[str, Any], answers: list[dict[str, Any]] | None) -> None:
        if message.get("id") == self._number and answers is not None:
            answers.append(message)
        elif message.get("sessionId") == self._session:
            self._has_loaded |= message.get("method") == "Page.loadEventFired"
            if message.get("method") in REPORTS:
                self.reports.append(json.dumps(message["params"]))

    def close(self) -> None:
        """End the browser, all of its processes, and remove its profile."""
        with suppress(AssertionError, OSError):
            self._ask("Browser.close", {}, session=None)
        for descriptor in (self._to, self._from):
            os.close(descriptor)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        wait_until(lambda: _removed(self._folder), within=10, what="the profile is gone")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pipe() -> tuple[int, int]:
    """Make a pipe on descriptors that are not those it is to be put on."""
    made = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in made]
    for end in made:
        os.close(end)
    return ends[0], ends[1]


def _removed(folder: Path) -> bool:
    """Remove a folder into which processes that are just ending may still write."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
