"""Queues of one server are known to share it, however their URLs write it."""

import pytest

from exporter.address import Address, normalise
from exporter.secrets import read_url


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("mysql://a:b@db1/x", "mariadb://c:d@db1:3306/y", True),
        ("postgresql://db1/x", "postgresql+psycopg2://u@db1:5432/y", True),
        ("postgresql:///x?host=/run/a", "postgresql:///y?host=/run/a", True),
        ("postgresql:///x?host=/run/a", "postgresql:///y?host=/run/b", False),
        ("mysql://localhost/x?unix_socket=/run/a", "mysql://db1/x?unix_socket=/run/a", True),
        ("mysql://db1:3306/x", "mysql://db1:3307/x", False),
        ("mysql://db1/x", "postgresql://db1/x", False),
        ("mysql://db1/x", "mysql://db2/x", False),
        ("sqlite:////srv/a.db", "sqlite:////srv/a.db", True),
        ("sqlite:////srv/a.db", "sqlite:////srv/b.db", False),
    ],
)
def test_a_server_is_the_same_or_not(one: str, other: str, is_same: bool) -> None:
    """Whichever database, account and driver; a port that is not written is the usual one."""
    servers = {Address(url=normalise(read_url(url))).server for url in (one, other)}
    assert (len(servers) == 1) is is_same
