"""The hosts of a run, each with its crew of workers, from the side of who makes the faults."""

import errno
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from tests.faults.healed_queue import CONSOLE, add_host
from tests.lab.hosts import Host, Hosts
from tests.lab.waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
END_SECONDS: Final = 60.0


class Crew:
    """A host and its workers. `boot` counts how often it was started."""

    def __init__(self, lab: Hosts, name: str, folder: Path, *, work: Mapping[str, Any], account: str | None) -> None:
        self.name, self._folder, self._work, self._account = name, folder, dict(work), account
        folder.mkdir()
        folder.chmod(0o777)
        self.log, self._orders, self.no_way = folder / "log", folder / "orders", folder / "no_way"
        self.log.touch(mode=0o666)
        self.log.chmod(0o666)
        os.mkfifo(self._orders)
        self.boot, self.is_off = 0, False
        self._drains = self._is_over = False
        self.host: Host = add_host(lab, name)
        if account is not None:
            key = f'restrict,command="sh /etc/probe.sh" {lab.public_key}\n'
            self.host.write(f"/etc/ssh/lab_keys/{account}", key)
            # Not this machine's own shell and its settings.
            self.host.call(["sed", "-i", f"s|^{account}:.*|{account}:x:0:0::/:/bin/sh|", "/etc/passwd"])

    def options(self, **changes: Any) -> dict[str, Any]:
        """Return the host's section of the configuration."""
        own = {"user": self._account} if self._account else {}
        return self.host.options(**own, **changes)

    def start(self) -> None:
        """Begin to work, on a host that has just booted."""
        self.boot += 1
        settings = {
            "host": self.name,
            "boot": self.boot,
            "log": str(self.log),
            "orders": str(self._orders),
            "no_way": str(self.no_way),
            **self._work,
        }
        file = self._folder / f"settings{self.boot}.json"
        file.write_text(json.dumps(settings))
        command = [sys.executable, "-m", "tests.chaos.crew", str(file)]
        if self._work["kind"] == "archive":
            command += [CONSOLE, "core:archive"]
        self._pid = self.host.spawn(command, folder=str(ROOT))

    def order(self, do: str, pick: int = 0) -> None:
        """Tell the crew something; nobody hears it while the host is off."""
        with suppress(FileNotFoundError):
            try:
                pipe = os.open(self._orders, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return
            os.write(pipe, (json.dumps({"do": do, "pick": pick}) + "\n").encode())
            os.close(pipe)

    def lose_power(self) -> None:
        """Let the host and all on it end at once."""
        self.note("power off")
        self.is_off, self._is_over = True, self._drains
        self.host.power_off()
        self.note("is off")

    def boot_anew(self) -> None:
        """Boot, as a machine that has just been switched on, and begin to work again, unless that was to end."""
        self.host._up_for = timedelta(seconds=1)
        self.host.start()
        self.is_off = False
        if not self._drains:
            self.start()

    def note(self, what: str) -> None:
        """Write into the log of the workers what happens to all of them."""
        with self.log.open("a") as log:
            log.write(json.dumps({"at": time.time(), "what": what, "host": self.name}) + "\n")

    def drain(self) -> None:
        """Let the workers end what they do, and take nothing more; on a host that is off there are none."""
        self._drains, self._is_over = True, self._is_over or self.is_off
        self.order("drain")

    def await_drained(self) -> None:
        """Wait until they have; who had only just begun is told again."""
        wait_until(
            self._has_drained, within=END_SECONDS, what=f"the workers of {self.name} have ended", every_seconds=0.2
        )

    def _has_drained(self) -> bool:
        said = self.log.read_text().rpartition('"power off"')[2]
        if '"draining"' not in said:
            self.order("drain")
        return self._is_over or '"drained"' in said

    def is_whole(self) -> bool:
        """Whether the crew itself still runs."""
        return self._is_over or self.host.state(self._pid) not in (None, "Z")
