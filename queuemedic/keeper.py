"""The ledger of a running program: opened when it is first needed, and tried again until that works.

What was seen before is taken up when it opens, and what is seen from then on is kept there. One that cannot be used
stops healing, not watching; people are told once, and again when it works.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import structlog

from exporter import clock
from exporter.errors import ConfigurationError, LedgerError, QueuemedicError
from healers.beliefs import Beliefs
from healers.ledger import Ledger

from .building import find_ledger, needs_ledger
from .config import Config

log = structlog.get_logger()


def open_ledger(config: Config, environment: Mapping[str, str]) -> Ledger:
    """Open the ledger for writing; where the configuration names none, its folder is made. Raises LedgerError."""
    address = find_ledger(config, environment)
    if config.ledger is None:
        folder = Path(str(address.url.database)).parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as cause:
            raise LedgerError(f"{folder}: cannot be made: {cause.strerror}; name a place under ledger:") from cause
    return Ledger.open(address)


class Keeper:
    """Holds the ledger of a program; for any thread."""

    def __init__(self, config: Config, *, get_beliefs: Callable[[], Beliefs]) -> None:
        self._config = config
        self._get_beliefs = get_beliefs
        self._opening = threading.Lock()
        self._choosing = threading.Lock()
        self._ledger: Ledger | None = None
        self._fault = ""

    def get(self) -> Ledger:
        """Return the ledger, opened; raises LedgerError."""
        return self._ledger or self._open(lambda config: open_ledger(config, os.environ))

    def look(self) -> Ledger:
        """Return the ledger, opened for reading only; raises NoLedger where there is none, else LedgerError."""
        return self._ledger or self._open(lambda config: Ledger.open_read_only(find_ledger(config, os.environ)))

    def refuse_other(self, config: Config) -> None:
        """Raise ConfigurationError where a configuration names another ledger than the one that is open."""
        with self._choosing:
            ledger = self._ledger
            if ledger is not None and needs_ledger(config) and not self._is_same(config):
                raise ConfigurationError(
                    f"ledger: the program keeps {ledger.place} until it ends; name that, or restart the program"
                )

    def use(self, config: Config) -> None:
        """Take the ledger of a configuration from now on, unless one is open; `refuse_other` comes before."""
        with self._choosing:
            if self._ledger is None:
                self._config = config

    def _is_same(self, config: Config) -> bool:
        return find_ledger(config, os.environ).place == find_ledger(self._config, os.environ).place

    def _open(self, open_it: Callable[[Config], Ledger]) -> Ledger:
        """Open the ledger, which may take its time, and take up what it has seen before anybody works with it."""
        with self._opening:
            if self._ledger is not None:
                return self._ledger
            config = self._config
            ledger = open_it(config)
            try:
                seen = ledger.sightings.load()
                with self._choosing:
                    if self._config is not config and not self._is_same(config):
                        raise LedgerError(f"{ledger.place}: another ledger is configured by now, and is opened next")
                    self._get_beliefs().adopt(seen)
                    self._ledger = ledger
            except BaseException:
                ledger.close()
                raise
            return ledger

    def keep(self) -> None:
        """Keep what was seen since the last time, and take up which hosts people have given up."""
        try:
            ledger, beliefs = self.get(), self._get_beliefs()
            beliefs.keep(lambda learned: ledger.sightings.learn(learned, at=clock.now()))
            retired = ledger.sightings.retired()
            if retired != beliefs.sightings.retired:
                beliefs.retire(retired)
        except QueuemedicError as error:
            if str(error) != self._fault:
                log.error("ledger.failed", error=str(error), advice="nothing is healed until it can be used again")
            self._fault = str(error)
            return
        if self._fault:
            log.info("ledger.recovered", ledger=ledger.place)
        self._fault = ""

    def forget(self, *, older_than: timedelta) -> None:
        """Forget what is older."""
        try:
            forgotten = self.get().forget(before=clock.now() - older_than)
        except LedgerError:  # `keep` tells
            return
        if forgotten:
            log.info("ledger.forgot", entries=forgotten)

    def close(self, *, within_seconds: float) -> None:
        """Close the connection, unless it is in use for longer; what is written by then is on the disk."""
        ledger = self._ledger
        if ledger is not None:
            closing = threading.Thread(target=self._close, args=[ledger], name="closing", daemon=True)
            closing.start()
            closing.join(within_seconds)

    @staticmethod
    def _close(ledger: Ledger) -> None:
        with suppress(LedgerError):
            ledger.close()
