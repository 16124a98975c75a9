"""What the program does not use is not in its memory."""

import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.lab import queuemedic
from tests.lab.hosts import make_key
from tests.lab.ports import free_port

DRIVER = "pymysql.connections"
# Modules from within: the names of packages stand there also where they were only asked for.
UNUSED = {
    "alembic.runtime.migration",
    "cryptography.hazmat.primitives",
    "markdown_it.main",
    "paramiko.transport",
    "psycopg.connection",
    "rich.console",
    "sqlalchemy.dialects.postgresql",
}
PASSWORD, SALT = b"hush\0", b"12345678901234567890"


def test_watching_a_matomo_takes_nothing_along(tmp_path: Path) -> None:
    """No driver of another database, no SSH, no Markdown, nothing to draw tables with: 14 MiB."""
    queue = {"system": "matomo", "url": f"mysql://u:p@127.0.0.1:{free_port()}/x", "poll_every": "1s"}
    config = queuemedic.write_config(tmp_path, {"site": queue})
    with queuemedic.serving(config, tmp_path, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as served:
        served.scrape_until("polls_total", 1, queue="site", outcome="unreachable")
        served.stop()
    imported = {line.rsplit("|")[-1].strip() for line in served.log.splitlines() if line.startswith("import time:")}
    assert DRIVER in imported
    assert UNUSED & imported == set()


def test_asking_over_ssh_takes_nothing_along(tmp_path: Path) -> None:
    """Not what paramiko would load for `Match exec` of ssh_config: 3 MiB."""
    make_key(tmp_path / "key")
    shown = make_key(tmp_path / "host_key")
    (tmp_path / "known_hosts").write_text(f"192.0.2.1 {shown}\n")
    files = f"key_file={str(tmp_path / 'key')!r}, known_hosts={str(tmp_path / 'known_hosts')!r}"
    code = (
        "import sys; from healers.options import HostOptions; from queuemedic.systems import make_probe;"
        f" make_probe(HostOptions(via='ssh', address='192.0.2.1', user='queuemedic', {files}));"
        " print('paramiko.transport' in sys.modules, 'invoke.collection' in sys.modules)"
    )
    assert _run(code) == "True False"


def test_a_new_ledger_takes_nothing_along(tmp_path: Path) -> None:
    """Not what Mako would load to colour the source of a template that has a fault: 4 MiB."""
    code = (
        "import sys; from sqlalchemy import make_url; from exporter.address import Address;"
        " from healers.ledger import Ledger;"
        f" Ledger.open(Address(url=make_url('sqlite:///{tmp_path}/ledger.db'))).close();"
        " print('alembic.runtime.migration' in sys.modules, 'pygments.lexer' in sys.modules)"
    )
    assert _run(code) == "True False"


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_who_logs_in_by_a_key_of_the_server_gets_what_that_needs() -> None:
    """MySQL's `caching_sha2_password` without TLS: the password is encrypted, by a module that was not there before."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    code = (
        "import sys; from exporter.imports import import_pymysql; import_pymysql(); import pymysql._auth as auth;"
        " assert 'cryptography' not in sys.modules;"
        f" print([auth.sha2_rsa_encrypt({PASSWORD[:-1]!r}, {SALT!r}, {public!r}).hex() for _ in range(2)][-1])"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303
    mixed = key.decrypt(bytes.fromhex(printed), oaep)
    assert bytes(one ^ two for one, two in zip(mixed, SALT, strict=False)) == PASSWORD
