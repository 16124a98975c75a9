"""The interpreter is set for many threads, in the program that serves and in no other."""

import subprocess
import sys

import pytest

from queuemedic import interpreter, serving

SETTINGS = "import gc, sys; print(round(sys.getswitchinterval(), 6), *gc.get_threshold(), gc.get_freeze_count() > 0)"


def test_threads_give_way_soon_and_the_collector_seldom_looks() -> None:
    """In a process of its own, as it is for good."""
    code = f"from queuemedic.interpreter import settle; settle(); {SETTINGS}"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["0.0002", "10000", "10", "100", "True"]


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
