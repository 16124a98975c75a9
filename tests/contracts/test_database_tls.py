"""Whom a `Reader` trusts, and what it says when it is refused: TLS, accounts, rights, tables, files.

No message holds a password or a statement.
"""

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pymysql
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from sqlalchemy import make_url

import exporter.openers
from exporter.address import Tls
from exporter.driver_errors import read_error
from exporter.errors import BadSchema, ConfigurationError, PollTimeout, ReadError, Refused, Unreachable
from tests.conftest import installed
from tests.lab import run
from tests.lab.certificates import Authority, Certificate
from tests.lab.daemon import ids_of
from tests.lab.mariadb import MariaDb
from tests.lab.ports import free_port
from tests.lab.postgres import Postgres

from .test_database import Database, ask, changed, on_mariadb, on_postgres, on_sqlite, reading, shared_database

SECRET = "hush-hush"


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A database on a server of the test's own that talks TLS, and what its authority has issued."""

    database: Database
    authority: Authority
    client: Certificate

    def tls(self, *, ca_file: Path | None = None, client: Certificate | None = None, is_verified: bool = True) -> Tls:
        """Return settings for it: its authority unless another is given, and no certificate of our own."""
        files = {"cert_file": client.cert_file, "key_file": client.key_file} if client else {}
        return Tls(ca_file=ca_file or self.authority.ca_file, is_verified=is_verified, **files)


@contextmanager
def secured_by(
    kind: str, *, hosts: tuple[str, ...] = ("localhost",), addresses: tuple[str, ...] = ("127.0.0.1",)
) -> Iterator[Secured]:
    """Start a server whose certificate is for these names."""
    authority = Authority(run.scratch("tls"))
    server = authority.issue("server", hosts=hosts, addresses=addresses)
    with installed(), ExitStack() as undo:
        if kind == "mariadb":
            lone = MariaDb(ssl_cert=server.cert_file, ssl_key=server.key_file, ssl_ca=authority.ca_file)
            database = undo.enter_context(on_mariadb(undo.enter_context(lone)))
        else:
            database = undo.enter_context(on_postgres(undo.enter_context(_postgres(authority, server))))
        yield Secured(database=database, authority=authority, client=authority.issue("client"))


ACCESS = """
host    all postgres  127.0.0.1/32 trust
hostssl all +enrolled 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
host    all all       127.0.0.1/32 scram-sha-256
"""


def _postgres(authority: Authority, server: Certificate) -> Postgres:
    """Make a server that asks the members of the role `enrolled` for a certificate; it has to own its key."""
    uid, gid = ids_of(Postgres.user)
    if uid is not None and gid is not None:
        shutil.chown(server.key_file, uid, gid)
    access = authority.ca_file.with_name("pg_hba.conf")
    access.write_text(ACCESS)
    files = {"ssl_cert_file": server.cert_file, "ssl_key_file": server.key_file, "ssl_ca_file": authority.ca_file}
    return Postgres(settings={"ssl": "on", "hba_file": str(access)} | {name: str(path) for name, path in files.items()})


@pytest.fixture(params=["mariadb", "postgres", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind in turn, on servers without TLS."""
    with shared_database(request, tmp_path) as database:
        yield database


@pytest.fixture(params=["mariadb", "postgres"])
def secured(request: pytest.FixtureRequest) -> Iterator[Secured]:
    """A database of each kind in turn, on servers with TLS."""
    with secured_by(request.param) as secured:
        yield secured


on_servers = pytest.mark.parametrize("database", ["mariadb", "postgres"], indirect=True)


def refusal(url: str, statement: str = "SELECT 1", *, tls: Tls | None = None) -> ReadError:
    """Return how a transaction with this statement fails, and see that it gives nothing away."""
    with (
        reading(url, tls=tls) as reader,
        pytest.raises(ReadError) as caught,
        reader.transaction() as transaction,
    ):
        ask(transaction, statement)
    message = str(caught.value)
    assert message
    assert statement not in message
    assert "a-literal" not in message
    assert str(make_url(url).password) not in message
    return caught.value


CIPHER = {
    "mysql": "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'",
    "postgresql": "SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}


def cipher(url: str, tls: Tls | None) -> str:
    """Return the cipher of a connection, as the server knows it."""
    with reading(url, tls=tls) as reader, reader.transaction() as transaction:
        [(name,)] = ask(transaction, CIPHER[make_url(url).get_backend_name()])
    return str(name or "")


def test_a_server_is_verified_by_its_authority(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right one is taken, given by file or as the system's; of another, nothing is sent to the server."""
    url = secured.database.url
    assert cipher(url, secured.tls()) != ""
    stranger = Authority(run.scratch("tls")).ca_file
    error = refusal(url, tls=secured.tls(ca_file=stranger))
    assert type(error) is Refused
    assert "certificate verify failed" in str(error)
    assert type(refusal(url, tls=Tls())) is Refused
    assert cipher(url, secured.tls(ca_file=stranger, is_verified=False)) != ""
    monkeypatch.setenv("SSL_CERT_FILE", str(secured.authority.ca_file))
    assert cipher(url, Tls()) != ""


def test_what_is_not_verified_is_encrypted_where_the_server_offers_it(
    secured: Secured, mariadb: MariaDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the drivers do unless told otherwise; but no connection holds the authorities of the system, 1 MiB, for that.

    A server that offers none is talked to all the same.
    """

    def load(*_: object, **__: object) -> None:
        raise AssertionError("authorities were loaded")

    with mariadb.database() as database:
        plain = mariadb.account(database, ["SELECT ON *"])
        with monkeypatch.context() as patched:
            patched.setattr(ssl, "create_default_context", load)
            assert cipher(secured.database.url, None) != ""
            assert cipher(plain, None) == ""


def test_the_authorities_of_the_system_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The OpenSSL that comes with psycopg does not know where they are."""
    with secured_by("postgres") as secured:
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(cafile=None))
        monkeypatch.setattr(exporter.openers, "AUTHORITIES", ("/missing", str(secured.authority.ca_file)))
        assert cipher(secured.database.url, Tls()) != ""


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_server_of_another_name_is_refused(kind: str) -> None:
    """Whoever has issued its certificate."""
    with secured_by(kind, hosts=("db.example",), addresses=()) as secured:
        assert type(refusal(secured.database.url, tls=secured.tls())) is Refused


@on_servers
def test_a_server_without_tls_is_refused(database: Database, tmp_path: Path) -> None:
    """If TLS was asked for."""
    assert type(refusal(database.url, tls=Tls(ca_file=Authority(tmp_path).ca_file))) is Refused


def test_a_server_may_ask_for_a_certificate(secured: Secured) -> None:
    """It is refused without, and accepted with one."""
    database = secured.database
    name = make_url(database.url).username
    if database.dialect == "mysql":
        database.sql(f"ALTER USER {name} REQUIRE X509")
    else:
        database.sql("CREATE ROLE enrolled")
        database.sql(f"GRANT enrolled TO {name}")
    assert type(refusal(database.url, tls=secured.tls())) is Refused
    assert cipher(database.url, secured.tls(client=secured.client)) != ""


@on_servers
def test_a_file_that_cannot_be_used_is_named(database: Database, tmp_path: Path) -> None:
    """One that is missing, and one that is no certificate."""
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (tmp_path / "missing.pem", broken):
        with (
            reading(database.url, tls=Tls(ca_file=path)) as reader,
            pytest.raises(ConfigurationError, match=path.name),
            reader.transaction(),
        ):
            pass


def test_a_key_with_a_password_is_not_asked_for_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """OpenSSL would wait at the terminal."""
    own = Authority(tmp_path).issue("client")
    key = load_pem_private_key(own.key_file.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    own.key_file.write_bytes(locked)
    with pytest.raises(ConfigurationError, match=own.key_file.name):
        Tls(cert_file=own.cert_file, key_file=own.key_file).context()
    assert capfd.readouterr() == ("", "")


@on_servers
def test_a_password_may_hold_any_character(database: Database) -> None:
    """As other programs send it: in UTF-8."""
    password = "é€ @:/%+?#&='\\\"ß"
    name = make_url(database.url).username
    if database.dialect == "mysql":
        database.sql(f"SET PASSWORD FOR {name} = PASSWORD(%s)", password)
    else:
        database.sql(f"ALTER ROLE {name} PASSWORD '{password.replace(chr(39), chr(39) * 2)}'")
    with reading(changed(database.url, password=password)) as reader, reader.transaction() as transaction:
        assert ask(transaction, "SELECT id FROM jobs") == [(1,)]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT 'a-literal' FROM missing", BadSchema),
        ("SELECT missing, 'a-literal' FROM jobs", BadSchema),
        ("SELECT 'a-literal' FORM jobs", ReadError),
        ("SELECT id FROM jobs WHERE 'a-literal", ReadError),
        ("INSERT INTO jobs VALUES (2, 'a-literal')", Refused),
    ],
)
def test_a_statement_that_fails_is_named_by_its_kind(
    database: Database, statement: str, error: type[ReadError]
) -> None:
    """And not repeated."""
    assert type(refusal(database.url, statement)) is error


@on_servers
def test_a_right_that_is_missing_is_a_refusal(database: Database) -> None:
    """On a table as on a column."""
    database.sql("CREATE TABLE other (id INTEGER)")
    account = database.server.account
    name = make_url(database.url).database
    assert type(refusal(account(name, ["SELECT ON other"]), "SELECT id FROM jobs")) is Refused
    column = account(name, ["SELECT (id) ON jobs"])
    assert type(refusal(column, "SELECT host FROM jobs")) is Refused
    with reading(column) as reader, reader.transaction() as transaction:
        assert ask(transaction, "SELECT id FROM jobs") == [(1,)]


@on_servers
def test_an_account_that_is_not_let_in_is_told_apart(database: Database) -> None:
    """A wrong password, one session too many, a database that is not there."""
    assert type(refusal(changed(database.url, password=SECRET))) is Refused
    assert type(refusal(changed(database.root_url, database="missing"))) is BadSchema
    name = make_url(database.url).username
    limit = (
        "ALTER USER {} WITH MAX_USER_CONNECTIONS 1"
        if database.dialect == "mysql"
        else "ALTER ROLE {} CONNECTION LIMIT 1"
    )
    database.sql(limit.format(name))
    with reading(database.url) as reader, reader.transaction():
        assert type(refusal(database.url)) is Refused


@on_servers
def test_a_server_that_is_not_there_is_unreachable(database: Database) -> None:
    """By its port, or by its name."""
    assert type(refusal(changed(database.url, port=free_port()))) is Unreachable
    assert type(refusal(changed(database.url, host="nowhere.invalid"))) is Unreachable


def test_a_socket_of_the_file_system_is_a_way_to_a_server(mariadb: MariaDb) -> None:
    """Which is also how Matomo reaches its own."""
    url = f"mysql+pymysql://root@localhost/mysql?unix_socket={mariadb.socket}"
    with reading(url) as reader, reader.transaction() as transaction:
        assert ask(transaction, "SELECT 1") == [(1,)]
    assert type(refusal(url.replace("/socket", "/missing"))) is Unreachable


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """One that is missing, a folder, one that is no database."""
    text = tmp_path / "text.db"
    text.write_text("no database, and long enough to be looked at" * 50)
    for path, error in ((tmp_path / "missing.db", Unreachable), (tmp_path, Unreachable), (text, BadSchema)):
        assert type(refusal(f"sqlite:///{path}", "SELECT * FROM jobs")) is error
    assert str(tmp_path / "missing.db") in str(refusal(f"sqlite:///{tmp_path}/missing.db"))


NOBODY = """
import os, sys
from datetime import timedelta
from sqlalchemy import make_url
from exporter.address import Address
from exporter.database import Reader
from exporter.driver_errors import read_error
from exporter.errors import Refused
address = Address(url=make_url(sys.argv[1]))
try:
    with Reader(lambda: address, limit=timedelta(seconds=1)).transaction():
        os.setuid(65534)
    with Reader(lambda: address, limit=timedelta(seconds=1)).transaction():
        pass
except Refused as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read a file")
def test_a_file_that_may_not_be_read_is_refused() -> None:
    """To somebody without a right to the file."""
    path = run.scratch("sqlite") / "jobs.db"
    on_sqlite(path)
    path.chmod(0o600)
    command = [sys.executable, "-c", NOBODY, f"sqlite:///{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert str(path) in done.stdout


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (pymysql.err.OperationalError(4031, "The client was disconnected because of inactivity"), Unreachable),
        (pymysql.err.OperationalError(3024, "Query execution was interrupted"), PollTimeout),
        (pymysql.err.OperationalError(1021, "Disk full"), ReadError),
        (pymysql.err.InterfaceError(0, ""), Unreachable),
        (psycopg.OperationalError("connection failed: FATAL:  the database system is starting up"), Unreachable),
        (psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"), Unreachable),
        (psycopg.OperationalError("connection failed: FATAL:  Passwort-Authentifizierung fehlgeschlagen"), Refused),
        (psycopg.OperationalError("SSL SYSCALL error: EOF detected"), Unreachable),
        (psycopg.DataError("text fields cannot contain NUL"), ReadError),
    ],
)
def test_what_no_server_of_ours_says_is_understood(cause: Exception, error: type[ReadError]) -> None:
    """MySQL's own numbers, and states that last too short a time to be met."""
    assert type(read_error(cause, has_expired=False, limit=timedelta(seconds=1))) is error
