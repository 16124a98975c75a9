"""An Alertmanager of the test's own, with a configuration that is given to it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from .programs import program
from .server import Server

PACKAGE: Final = "prometheus-alertmanager"


class Alertmanager(Server):
    """A server; `ca_file` is the authority it trusts, in place of the system's, when it sends mail."""

    def __init__(self, config: str, *, ca_file: Path | None = None) -> None:
        self._config, self._ca_file = config, ca_file
        super().__init__()

    def _command(self) -> list[str]:
        return [
            program(PACKAGE, package=PACKAGE),
            f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.data_folder}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def _environment(self) -> Mapping[str, str]:
        return {"SSL_CERT_FILE": str(self._ca_file)} if self._ca_file else {}

    def _prepare(self) -> None:
        (self.folder / "alertmanager.yml").write_text(self._config)

    def _answers(self) -> bool:
        return httpx.get(f"http://{self.address}/-/ready").is_success

    @property
    def address(self) -> str:
        """Where it takes alerts."""
        return f"{self.host}:{self.port}"

    def silenced(self, **labels: str) -> set[str]:
        """Return the names of alerts with these labels that are silenced by another one."""
        filters = [f'{name}="{value}"' for name, value in labels.items()]
        found = httpx.get(f"http://{self.address}/api/v2/alerts", params={"filter": filters}).json()
        return {alert["labels"]["alertname"] for alert in found if alert["status"]["inhibitedBy"]}
