"""Where a run takes place: hosts with crews, two database servers, a small disk for the ledger, and two watchdogs."""

import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

from sqlalchemy import make_url

from tests.contracts.meltano_bench import PostgresDatabase
from tests.contracts.reset_benches import MELTANO_GRANTS
from tests.faults.healed_queue import Site
from tests.lab import matomo, run
from tests.lab.hosts import Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres
from tests.lab.proxy import Proxy

from .crews import Crew
from .dogs import Dog
from .history import watch_matomo, watch_meltano
from .labour import BAD
from .ways import Ways

ARCHIVERS: Final = ("web01", "web02", "web03")
PIPELINES: Final = ("etl01",)
WORKERS: Final = {"archive": 6, "pipeline": 5}
NAMED: Final = "web03"
"""The host that the watchdogs know by a name only."""
DOGS: Final = ("first", "second")
MATOMO, MELTANO = "matomo", "meltano"
HEAL_AFTER, CONFIRM_AFTER, EVERY = 1.0, 2.0, 1.0
PER_JOB: Final = 3
BAD_JOBS: Final = 2
LIMITS: Final = {
    "mode": "reset",
    "heal_after": f"{HEAL_AFTER:g}s",
    "confirm_after": f"{CONFIRM_AFTER:g}s",
    "max_resets_per_job": {"resets": PER_JOB, "within": "24h"},
    "breaker": {"max_dead_ratio": 1.0},
}
PACE: Final = {"poll_every": f"{EVERY:g}s", "poll_timeout": "5s", "max_duty": 1}
ASKED: Final = {"pid_namespace": "own", "ask_every": f"{EVERY:g}s", "timeout": "3s"}
WAITING: Final = 60
TARGETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "host": (*ARCHIVERS, *PIPELINES),
        "archivers": ARCHIVERS,
        "pipelines": PIPELINES,
        "names": (NAMED,),
        "server": ("mariadb", "postgresql"),
        "mariadb": ("mariadb",),
        "watchdog": DOGS,
        "disk": ("ledger",),
    }
)
"""What faults may befall."""
LEDGERS: Final = ("sqlite", "mariadb", "postgresql")


class Ground:
    """All that is there for one run.

    `broken` names what is broken in the watchdogs, `per_hour` is their budget; `heirs_stay` until the very end, who got
    the pid of another. `keeps` says where the ledger is: on the small disk, or on one of the servers.
    """

    def __init__(
        self,
        seed: int,
        *,
        broken: str | None = None,
        per_hour: int = 10_000,
        heirs_stay: bool = False,
        keeps: str = "sqlite",
    ) -> None:
        self._keeps = keeps
        self.seed, self.per_hour, self._heirs_stay = seed, per_hour, heirs_stay
        self._undo = ExitStack()
        self._broken = broken
        self.fed_for_sure: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._make(undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _make(self, undo: ExitStack) -> None:
        self.folder = run.scratch("chaos")
        lab = undo.enter_context(Hosts())
        self.mariadb = undo.enter_context(MariaDb())
        self.postgres = undo.enter_context(Postgres())
        self.site = undo.enter_context(Site(self.mariadb, run.scratch("site")))
        self.runs = undo.enter_context(self.postgres.database())
        table = PostgresDatabase(self.postgres, self.runs, table="runs")
        self.project = self.folder / "project"
        self.project.mkdir()
        self.project.chmod(0o777)
        watch_matomo(self.mariadb, self.site.database)
        watch_meltano(self.postgres, self.runs)
        self.disk = undo.enter_context(small_disk(self.folder / "disk"))
        self.ledger = f"sqlite:///{self.disk / 'ledger.db'}"
        if self._keeps != "sqlite":
            server = self.servers[self._keeps]
            self.ledger = server.root_url(undo.enter_context(server.database()))
        self.resolver = undo.enter_context(silent_resolver())
        self.crews = {name: self._crew(lab, name) for name in (*ARCHIVERS, *PIPELINES)}
        self.meltano_url, self.meltano_write_url = table.url, self.postgres.account(self.runs, MELTANO_GRANTS)
        self.healers = {make_url(url).username for url in (self.site.write_url, self.meltano_write_url)}
        self.dogs = {name: self._dog(undo, name) for name in DOGS}

    @property
    def servers(self) -> Mapping[str, MariaDb | Postgres]:
        """The database servers by name."""
        return {"mariadb": self.mariadb, "postgresql": self.postgres}

    def start(self) -> None:
        """Let everybody begin."""
        self.feed(bad=BAD_JOBS)
        for dog in self.dogs.values():
            self.let_resolve(dog)
            dog.start()
        for dog in self.dogs.values():
            dog.await_up()
        for crew in self.crews.values():
            crew.start()

    def feed(self, *, bad: int = 0) -> None:
        """See that enough of Matomo's jobs wait; what was surely added is told from what only perhaps was."""
        waiting = "SELECT COUNT(*) FROM matomo_archive_invalidations WHERE status = 0"
        ((number,),) = self.mariadb.sql(waiting, database=self.site.database)
        names = [f"{BAD}{secrets.token_hex(8)}" for _ in range(bad)]
        names += [f"done{secrets.token_hex(16)}" for _ in range(max(0, WAITING - number))]
        matomo.insert_rows(self.mariadb, self.site.database, *({"name": name} for name in names))
        self.fed_for_sure.update(names)

    def let_resolve(self, dog: Dog, *, is_silent: bool = False) -> None:
        """Let a watchdog know the host that has a name, or ask for it in vain."""
        known = "" if is_silent else f"{self.crews[NAMED].host.address} {name_of(NAMED)}\n"
        dog.set_names(f"127.0.0.1 localhost\n{known}", f"nameserver {self.resolver}\n")

    def _crew(self, lab: Hosts, name: str) -> Crew:
        kind = "archive" if name in ARCHIVERS else "pipeline"
        work: dict[str, Any] = {
            "kind": kind,
            "seed": self.seed,
            "workers": WORKERS[kind],
            "heirs_stay": self._heirs_stay,
        }
        if kind == "archive":
            work |= {"socket": str(self.mariadb.socket), "database": self.site.database}
        else:
            work |= {"socket": str(self.postgres.folder), "port": self.postgres.port, "database": self.runs}
            work |= {"project": str(self.project)}
        account = "root" if kind == "pipeline" else None
        return Crew(lab, name, self.folder / name, work=work, account=account)

    def _dog(self, undo: ExitStack, name: str) -> Dog:
        ways = Ways({server: its.port for server, its in self.servers.items()})
        dog = Dog(name, self.folder / name, ways, broken=self._broken)
        undo.callback(dog.close)
        hosts = {crew: self.crews[crew].options(**ASKED) for crew in self.crews}
        hosts[NAMED] |= {"address": name_of(NAMED), "known_hosts": str(self._known_by_name())}
        dog.configure(self._queues(ways), hosts=hosts, ledger={"url": self.ledger})
        return dog

    def _known_by_name(self) -> Path:
        file = self.folder / "known_by_name"
        file.write_text(f"{name_of(NAMED)} {self.crews[NAMED].host.host_key}\n")
        return file

    def _queues(self, ways: Ways) -> dict[str, dict[str, Any]]:
        def through(url: str, way: Proxy) -> str:
            return make_url(url).set(port=way.port).render_as_string(hide_password=False)

        limits = {**LIMITS, "max_resets_per_hour": self.per_hour}
        matomos = {
            "system": "matomo",
            "url": through(self.site.url, ways.reading["mariadb"]),
            "healing": {**limits, "write_url": through(self.site.write_url, ways.writing["mariadb"])},
        }
        meltanos = {
            "system": "meltano",
            "url": through(self.meltano_url, ways.reading["postgresql"]),
            "project": str(self.project),
            "workers_on": list(PIPELINES),
            "workers_user": "worker",
            "healing": {**limits, "write_url": through(self.meltano_write_url, ways.writing["postgresql"])},
        }
        return {MATOMO: {**matomos, **PACE}, MELTANO: {**meltanos, **PACE}}


def name_of(host: str) -> str:
    """Return the name by which a host is asked."""
    return f"{host}.lab.test"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a folder on a disk of 16 MiB, in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def silent_resolver() -> Iterator[str]:
    """Yield a loopback address at which name servers are asked, and nobody answers."""
    address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}.53"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((address, 53))
        yield address
