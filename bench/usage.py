"""What a process uses, from /proc: resident memory, processor seconds, threads and descriptors."""

import os
from pathlib import Path

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def peak_mib(pid: int) -> float:
    """Return the most resident memory that it ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def processor_seconds(pid: int) -> float:
    """Return the processor time that it and its ended children have taken, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def threads(pid: int) -> int:
    """Count its threads."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def descriptors(pid: int) -> int:
    """Count its open file descriptors."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
