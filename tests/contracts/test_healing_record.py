"""What the journal keeps of a reset: who did it, by which configuration, and both proofs with all that was told."""

import os
import socket
from pathlib import Path

from healers.ledger import RecordedReset
from queuemedic.building import digest_config
from queuemedic.config import load
from queuemedic.systems import OPTIONS
from tests.lab.watchdog import machine_id_of, read_ledger

from .healing_benches import DEAD_PID, HOST, on_sqlite, watch


def heal_one(folder: Path) -> RecordedReset:
    """Let the program put one job back, and return what was kept of that."""
    bench = on_sqlite(folder)
    jobs = bench.kill()
    with watch(bench.write_config()) as dog:
        dog.look_until(lambda: bench.resets() == dict.fromkeys(jobs, 1), what="it is put back")
        (record,) = read_ledger(dog.app.healing.keeper.get()).resets
    return record


def test_both_proofs_are_kept_with_what_the_host_said(tmp_path: Path) -> None:
    """Which machine, by which key, in which boot, since when it is up, and what it said of the pid."""
    intent = heal_one(tmp_path / "q").intent
    assert len(intent.proofs) == 2
    for proof in intent.proofs:
        said = {"hostname": HOST, "machine_id": machine_id_of(HOST), "pid": DEAD_PID, "presence": "absent"}
        assert {name: proof.evidence[name] for name in said} == said
        assert {"boot_id", "uptime_seconds", "host_key"} <= proof.evidence.keys()
    assert intent.row["pid"] == str(DEAD_PID)


def test_who_healed_and_by_which_configuration_is_kept(tmp_path: Path) -> None:
    """The digest is that of what was in force; a file that says something else has another one."""
    intent, file = heal_one(tmp_path / "q").intent, tmp_path / "q" / "queuemedic.yml"
    assert (intent.mode, intent.actor, intent.instance) == ("reset", "serve", f"{socket.gethostname()}:{os.getpid()}")
    assert intent.config_digest == digest_config(load(file, os.environ, OPTIONS))
    file.write_text(file.read_text().replace("confirm_after: 1s", "confirm_after: 2s"))
    assert intent.config_digest != digest_config(load(file, os.environ, OPTIONS))
