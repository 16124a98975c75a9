"""All that stands between a job table and the person who is told: real servers, the program, and who takes messages.

MariaDB, hosts with sshd, `queuemedic serve`, Prometheus with the rules that are shipped, Alertmanager with the example
that is shipped, a webhook and a mailbox. Both files are taken as a user takes them, by `queuemedic bundle`; changed are
only spans of time (`scale`) and where messages go.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.lab import queuemedic
from tests.lab.alertmanager import Alertmanager
from tests.lab.certificates import Authority
from tests.lab.hosts import Host, Hosts
from tests.lab.mailbox import Mailbox
from tests.lab.mariadb import MariaDb
from tests.lab.orphans import HOST
from tests.lab.prometheus import Prometheus
from tests.lab.queuemedic import Serving
from tests.lab.waiting import wait_until
from tests.lab.webhook import Webhook

from ...faults.healed_queue import add_host
from .scale import shorten_routes, shorten_rules

DOCS: Final = "https://docs.example.org/runbooks"
GRAFANA: Final = "https://grafana.example.org"
SHIPPED_URL, SHIPPED_SMARTHOST = "http://127.0.0.1:9095/alerts", "mail.example.org:587"
MEMORY_LIMIT_BYTES: Final = 112 << 20
LOCAL: Final = {
    "via": "local",
    "pid_namespace": "own",
    "ask_every": "1s",
    "timeout": "10s",
    "worker_memory_limit": MEMORY_LIMIT_BYTES,
}
SSH: Final = {"pid_namespace": "own", "ask_every": "1s", "timeout": "3s"}
SCRAPED_EVERY_SECONDS: Final = 2
"""A scrape that is late is one that failed, with which an alert is over."""
SETTLING_SECONDS: Final = 120.0


class Watch:
    """`with Watch(hosts, folder) as watch:`, then `queues` and `hosts` are filled, then `watch.run()`.

    `others` are further jobs of Prometheus, with the programs that each consists of.
    """

    def __init__(self, machines: Hosts, folder: Path) -> None:
        self.folder = folder
        self.machines = machines
        self.queues: dict[str, Mapping[str, Any]] = {}
        self.hosts: dict[str, Mapping[str, Any]] = {HOST: LOCAL}
        self.others: dict[str, Sequence[str]] = {}
        self.config = folder / "queuemedic.yml"
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.mariadb = undo.enter_context(MariaDb())
            self.webhook = undo.enter_context(Webhook())
            authority = Authority(self.folder)
            self.mailbox = undo.enter_context(Mailbox(authority.issue("mail")))
            made = queuemedic.run("bundle", "alerts", self.folder, "--runbooks", DOCS, "--grafana", GRAFANA)
            assert made.code == 0, made.err
            routes = shorten_routes((self.folder / "alertmanager.yml").read_text())
            for shipped, here in ((SHIPPED_URL, self.webhook.url), (SHIPPED_SMARTHOST, self.mailbox.address)):
                assert shipped in routes
                routes = routes.replace(shipped, here)
            self.alertmanager = undo.enter_context(Alertmanager(routes, ca_file=authority.ca_file))
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def add_host(self, name: str) -> Host:
        """Make a machine that is asked over SSH."""
        host = add_host(self.machines, name)
        self.hosts[name] = host.options(**SSH)
        return host

    def serve(self, config: Path) -> Serving:
        """Run a program until the end; its log is beside its configuration."""
        return self._undo.enter_context(queuemedic.serving(config, config.parent))

    def run(self) -> None:
        """Run the program on all queues, and Prometheus on all programs, and wait until all is quiet."""
        ledger = {"url": f"sqlite:///{self.folder / 'ledger.db'}"}
        queuemedic.write_config(self.folder, self.queues, hosts=self.hosts, ledger=ledger)
        self.serving = self.serve(self.config)
        self.prometheus = self._undo.enter_context(
            Prometheus(
                address_of(self.serving),
                rules=self._rules(),
                alertmanager=self.alertmanager.address,
                others=self.others,
                every_seconds=SCRAPED_EVERY_SECONDS,
            )
        )
        wait_until(self._is_quiet, within=SETTLING_SECONDS, what="all is read and scraped, and quiet", every_seconds=1)
        self.webhook.notifications.clear()

    def ask(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """Ask Prometheus."""
        return self.prometheus.query(promql)

    def until(self, promql: str, *, within: float = 90.0) -> None:
        """Wait until Prometheus has an answer to a question."""
        wait_until(lambda: self.ask(promql), within=within, what=promql, every_seconds=0.5)

    def command(self, *arguments: str) -> queuemedic.Ended:
        """Run a command as a person would, beside the running program."""
        return queuemedic.run("--config", self.config, *arguments)

    def _is_quiet(self) -> bool:
        """Tell whether all queues are read and passes are made, and no alert is on."""
        healed = sum(section.get("healing", {}).get("mode") == "reset" for section in self.queues.values())
        read = self.ask('queuemedic_up{job="queuemedic"} == 1')
        passed = self.ask("queuemedic_heal_pass_timestamp_seconds")
        return len(read) == len(self.queues) and len(passed) == healed and not self.ask("ALERTS")

    def _rules(self) -> list[Path]:
        files = sorted((self.folder / "rules").glob("*.yml"))
        for file in files:
            file.write_text(shorten_rules(file.read_text()))
        return files


def address_of(served: Serving) -> str:
    """Return where a program is scraped."""
    return served.address.removeprefix("http://")
