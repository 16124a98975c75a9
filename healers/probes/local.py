"""Ask this machine: run `probe.sh` as a process of our own account."""

import os
import signal
import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from .answer import read_answer
from .protocol import HostAnswer, NoAnswer, Request, Silence
from .request import make_nonce, write_request

SCRIPT: Final = Path(__file__).with_name("probe.sh")
SHELL: Final = ("/bin/sh",)


class LocalProbe:
    """Asks the machine that this program runs on; follows `healers.probes.protocol.Probe`."""

    def __init__(self, *, timeout: timedelta, shell: tuple[str, ...] = SHELL, script: Path = SCRIPT) -> None:
        self._timeout = timeout
        self._command = (*shell, str(script))

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer:  # noqa: ARG002  each ask is a new process
        """Run the script once; whatever is left of it when time is up is killed with its whole group."""
        nonce = make_nonce()
        try:
            written = write_request(request, nonce)
        except ValueError as cause:
            return NoAnswer(silence=Silence.BAD_ANSWER, detail=str(cause))
        try:
            process = subprocess.Popen(  # noqa: S603  the shipped script, and nothing of a request
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError as cause:
            return NoAnswer(silence=Silence.UNREACHABLE, detail=f"{self._command[0]}: {cause.strerror}")
        with process:
            try:
                output, _ = process.communicate(written, self._timeout.total_seconds())
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return NoAnswer(silence=Silence.TIMEOUT, detail=f"no answer within {self._timeout.total_seconds():g} s")
        return read_answer(output, exit_status=process.returncode, nonce=nonce, request=request)

    def close(self) -> None:
        """Nothing stays open."""
