"""What a row calls a host is never more than a name, also where a person is to copy it into the configuration."""

import sqlite3
from contextlib import closing
from pathlib import Path

import yaml

from tests.contracts.test_hostile_rows import HOSTS
from tests.lab import queuemedic
from tests.lab.sqlite_queue import add_jobs, make_queue

BREAKING_OUT = (
    "x\"': {via: local, pid_namespace: own} #",
    "x': {via: local}",
    "x': &a [*a]",
    '"x": {via: local}',
    "'",
    '"',
    "\\",
    "'\\'",
    "x: y",
    "# x",
    "{a: b}",
    "&x",
    "<<",
    "null",
    "~",
    "12",
    "x\n    y: {via: local}",
    "x\u2028y: {via: local}",
    "\x85x",
)


def test_a_name_to_paste_is_one_name(tmp_path: Path) -> None:
    """`hosts check` shows a line for each host that only rows know; pasted, it is that host and no other."""
    names = {*HOSTS, *BREAKING_OUT}
    queue = make_queue(tmp_path / "q.db", max_hosts=1000)
    for name in names:
        add_jobs(tmp_path / "q.db", started_on=name)
    with closing(sqlite3.connect(tmp_path / "q.db")) as connection:
        assert connection.execute("SELECT COUNT(*) FROM jobs WHERE b IS NOT NULL").fetchone() == (len(names),)
    config = queuemedic.write_config(tmp_path, {"q": queue})
    shown = queuemedic.run("--config", config, "hosts", "check").out.splitlines()
    lines = [line for line in shown if line.endswith("known_hosts: …}")]
    assert len(lines) == len(names)
    assert all(line.isprintable() for line in shown)
    pasted = [yaml.safe_load(f"hosts:\n{line}\n")["hosts"] for line in lines]
    assert {name for host in pasted for name in host} == names
    assert all(len(host) == 1 and next(iter(host.values()))["via"] == "ssh" for host in pasted)
