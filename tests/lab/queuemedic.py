"""The installed program as a real process: its commands run to the end, and `serve` scraped while it runs."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from .ports import free_port
from .processes import look
from .run import locked
from .waiting import wait_until

QUEUEMEDIC = Path(sys.executable).with_name("queuemedic")
DEFAULT_PORT = 9847
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


def run(*arguments: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        [QUEUEMEDIC, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        timeout=60,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def write_config(folder: Path, queues: Mapping[str, Mapping[str, Any]], *, port: int = 0, **sections: Any) -> Path:
    """Write a configuration file."""
    file = folder / "queuemedic.yml"
    sections = {"web": {"listen": f"127.0.0.1:{port}"}, "queues": dict(queues), **sections}
    file.write_text(yaml.safe_dump(sections))
    return file


class Page:
    """A scraped page, parsed by the client library."""

    def __init__(self, text: str, *, is_openmetrics: bool) -> None:
        self.text = text
        parse = parse_openmetrics if is_openmetrics else parse_text
        self.families = {family.name: family for family in parse(text)}
        self._samples: dict[tuple[str, Labels], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self._samples, f"twice on the page: {key}"
                self._samples[key] = sample.value

    def value(self, name: str, /, **labels: str) -> float | None:
        """Return the one sample with exactly these labels, the name without prefix; None if it is not there."""
        return self._samples.get((f"queuemedic_{name}", frozenset(labels.items())))

    def values(self, name: str, /, label: str, **labels: str) -> dict[str, float]:
        """Return the samples that have these labels among theirs, by the value of one more label."""
        return {
            dict(found)[label]: value
            for (sample, found), value in self._samples.items()
            if sample == f"queuemedic_{name}" and frozenset(labels.items()) <= found
        }

    def total(self, name: str, /, **labels: str) -> float:
        """Add up the samples that have these labels among theirs."""
        return sum(
            value
            for (sample, found), value in self._samples.items()
            if sample == f"queuemedic_{name}" and frozenset(labels.items()) <= found
        )


class Serving:
    """`queuemedic serve` as a process."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: str, log: Path, **client: Any) -> None:
        self.process = process
        self.address = address
        self._log = log
        self._client = httpx.Client(base_url=address, timeout=10, **client)

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return self._log.read_text()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page."""
        return self._client.get(path, headers=headers)

    def post(self, path: str) -> httpx.Response:
        """Ask for something to be done."""
        return self._client.post(path)

    def scrape(self, *, is_openmetrics: bool = False) -> Page:
        """Scrape and parse."""
        answer = self.get("/metrics", **({"Accept": OPENMETRICS} if is_openmetrics else {}))
        assert answer.status_code == 200, answer.text
        return Page(answer.text, is_openmetrics=is_openmetrics)

    def scrape_until(self, name: str, value: float | None, *, within: float = 20.0, **labels: str) -> Page:
        """Scrape until a sample has a value (None: is absent) and return that page."""
        what = f"queuemedic_{name}{labels} is {value}"
        pages: list[Page] = []

        def matches() -> bool:
            pages[:] = [self.scrape()]
            return pages[0].value(name, **labels) == value

        wait_until(matches, within=within, what=what)
        return pages[0]

    def threads(self) -> int:
        """Count its threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def descriptors(self) -> int:
        """Count its open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def serving(
    config: Path | None,
    folder: Path,
    *,
    scheme: str = "http",
    environment: Mapping[str, str] | None = None,
    **client: Any,
) -> Iterator[Serving]:
    """Run `serve`, and kill it at the end if it still runs.

    `client` is what an httpx client needs to be let in.
    """
    log = folder / "serve.log"
    arguments = ["--config", str(config)] if config else []
    with _port_of(config) as port:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [QUEUEMEDIC, *arguments, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, **(environment or {})},
            )
        with Serving(process, f"{scheme}://127.0.0.1:{port}", log, **client) as server:
            wait_until(lambda: look(process.pid) is None or _answers(server), within=40, what="serve answers")
            assert process.poll() is None, log.read_text()
            yield server


@contextmanager
def _port_of(config: Path | None) -> Iterator[int]:
    """Write a free port into a configuration, or find the one there; without a file it is the default, in turn."""
    if config is None:
        with locked("default-port"):
            yield DEFAULT_PORT
    else:
        config.write_text(re.sub(r"127\.0\.0\.1:0\b", f"127.0.0.1:{free_port()}", config.read_text()))
        [port] = re.findall(r"listen: 127\.0\.0\.1:([0-9]+)", config.read_text())
        yield int(port)


def _answers(server: Serving) -> bool:
    return server.get("/-/healthy").status_code == 200
