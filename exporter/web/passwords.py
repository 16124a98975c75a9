"""Check passwords against bcrypt hashes, which costs 70 ms of a processor by intent, beside everything else.

A password that was right is remembered by a keyed digest, so that a scrape pays once; a wrong one is never remembered.
Checks run in two threads, and of more than a few that wait the next is turned away: who guesses delays no scrape that
is known. An unknown name costs as much as a known one.
"""

import asyncio
import hashlib
import secrets
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import bcrypt

THREADS: Final = 2
MOST_WAITING: Final = 16
MOST_REMEMBERED: Final = 1000
# bcrypt looks at no more of a password, and so did whatever made the hash; the library refuses longer ones.
BCRYPT_BYTES: Final = 72
NOBODYS_HASH: Final = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"


class Busy(Exception):
    """Too many checks wait already."""


class Passwords:
    """Checks the Authorization header of requests; of one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._waiting = 0
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, None] = OrderedDict()

    async def is_right(self, authorization: bytes, users: Mapping[str, str]) -> bool:
        """Tell whether the header names one of `users` with its password; raises Busy."""
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        name, password = credentials
        hashed = users.get(name.decode(errors="surrogateescape"))
        digest = self._digest(name, password, hashed or "")
        if digest in self._remembered:
            self._remembered.move_to_end(digest)
            return True
        if self._waiting >= MOST_WAITING:
            raise Busy
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            is_right = await loop.run_in_executor(self._threads, _matches, password, hashed or _nobodys(users))
        finally:
            self._waiting -= 1
        if not (hashed and is_right):
            return False
        self._remembered[digest] = None
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return True

    def close(self) -> None:
        """Begin no more checks; one under way is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _digest(self, name: bytes, password: bytes, hashed: str) -> bytes:
        digest = hashlib.blake2b(key=self._key)
        for part in (name, password, hashed.encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()


def _credentials(authorization: bytes) -> tuple[bytes, bytes] | None:
    """Return name and password; what a client encodes is bytes, and only the first colon parts them."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name, colon, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (name, password) if colon else None


def _nobodys(users: Mapping[str, str]) -> str:
    """Return a hash that takes as long as the dearest of the users' own."""
    return f"$2b${max(hashed[4:6] for hashed in users.values())}${NOBODYS_HASH}"


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password[:BCRYPT_BYTES], hashed.encode())
    except ValueError:
        return False
