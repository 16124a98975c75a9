"""Tell whether files have changed since they were read."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, ...] | None


def stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Tell the present content of each file from any other; None where there is no file. Follows links."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
