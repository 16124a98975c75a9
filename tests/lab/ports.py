"""Free TCP ports of the loopback address.

They are taken from below the kernel's range for outgoing connections: a port out of that range, found free, may be a
client's own port a moment later.
"""

import secrets
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST = 15000


def free_port() -> int:
    """Return a port that nobody listens on just now, another one each time as good as surely."""
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = _LOWEST + secrets.randbelow(max(highest - _LOWEST, 1000))
        with socket.socket() as attempt:
            try:
                attempt.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)
