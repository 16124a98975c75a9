"""Import a library without what it takes along only in case: modules that would be held in memory and never used."""

import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Absent:
    """A finder for which these packages are not installed, as far as one thread is concerned."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        """Find nothing, unless somebody else asks or it is another package."""
        if threading.get_ident() == self._thread and name.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(name=name)
        return None


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """Let imports of these packages fail, in this thread; where they are there already, nothing is gained."""
    absent = _Absent(packages)
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)


def import_pymysql() -> None:
    """Import PyMySQL (1.2) without `cryptography`: 7 MiB for one way of MySQL's to log in, without TLS.

    Whoever logs in that way has it imported then.
    """
    if "pymysql" in sys.modules:
        return
    with without("cryptography"):
        auth: Any = importlib.import_module("pymysql._auth")

    def encrypt(*arguments: bytes) -> bytes:
        importlib.reload(auth)
        return bytes(auth.sha2_rsa_encrypt(*arguments))

    auth.sha2_rsa_encrypt = encrypt
