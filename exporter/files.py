"""Read files that another account may write to, and tell whether they have changed since."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

Stamp: TypeAlias = tuple[int, ...] | None
MOST_BYTES: Final = 1 << 20


def read_foreign(file: Path) -> bytes:
    """Read a regular file of a megabyte at most; raises OSError. A pipe, which might never end, is not waited for."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(file))
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"is longer than {MOST_BYTES} bytes", str(file))
    return content


def stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Tell the present content of each file from any other; None where there is no file. Follows links."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp:
    try:
        found = file.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
