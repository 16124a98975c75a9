"""The interpreter is set for many threads, in the program that serves and in no other."""

import ctypes
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from queuemedic import app, interpreter, serving
from queuemedic.config import load
from queuemedic.systems import OPTIONS
from tests.lab import queuemedic
from tests.lab.ports import free_port

SETTINGS = "import gc, sys; print(round(sys.getswitchinterval(), 6), *gc.get_threshold(), gc.get_freeze_count() > 0)"

HEAPS = """
import ctypes, os, threading
from queuemedic.interpreter import settle
settle()
together = threading.Barrier(9)
def work():
    held = [bytes(5000) for _ in range(20)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
together.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def test_threads_give_way_soon_and_the_collector_seldom_looks() -> None:
    """In a process of its own, as it is for good."""
    code = f"from queuemedic.interpreter import settle; settle(); {SETTINGS}"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["0.0002", "10000", "10", "100", "True"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="glibc alone has several heaps")
def test_threads_share_one_heap() -> None:
    """What one has freed another takes."""
    printed = subprocess.run([sys.executable, "-c", HEAPS], check=True, capture_output=True, text=True).stdout
    assert printed.count("<heap nr=") == 1


def test_what_is_in_old_cycles_is_freed_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that ended are such cycles; the thresholds alone would leave them there for hours."""
    has_looked = threading.Event()
    monkeypatch.setattr(app, "LOOKS_THROUGH_EVERY", timedelta(seconds=0.1))
    monkeypatch.setattr(app, "look_through", has_looked.set)
    queue = {"system": "matomo", "url": f"mysql://u:p@127.0.0.1:{free_port()}/x"}
    built = app.App(load(queuemedic.write_config(tmp_path, {"q": queue}), os.environ, OPTIONS))
    with built.polling():
        assert has_looked.wait(30)
    built.close(within_seconds=5)


def test_serving_begins_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else is made."""

    class Begun(Exception):
        pass

    def settle() -> None:
        raise Begun

    assert serving.settle is interpreter.settle  # type: ignore[attr-defined]
    monkeypatch.setattr(serving, "settle", settle)
    with pytest.raises(Begun):
        serving.serve_app(None, None)  # type: ignore[arg-type]
