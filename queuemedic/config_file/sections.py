"""Make the configuration from the tree, section by section, and keep the faults of all of them."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel

from exporter.jobs import QueueName
from healers.options import HostOptions, LedgerOptions

from ..systems import SystemOptions
from .faults import Fault, Where, quote
from .model import QUEUE_NAME, Config, QueueSection, WebOptions
from .tree import Document, Entry, Keys, Node, Scalar, child, is_broken, kind_of
from .validation import Section, unknown_key, validate
from .wording import listed, text_expected

M = TypeVar("M", bound=BaseModel)

TOP_KEYS = frozenset({"web", "ledger", "queues", "hosts"})
READ_HERE = frozenset({"system", "healing"})


class Reading:
    """One reading of one file; `config` is None where there are `faults`."""

    def __init__(self, document: Document, *, systems: Mapping[str, SystemOptions], file: Path) -> None:
        self._document = document
        self._systems = systems
        self._file = file
        self._folder = file.parent.absolute()
        self.faults = list(document.faults)
        self.config = self._config(document.root)

    def _config(self, root: Node | None) -> Config | None:
        if not isinstance(root, Keys):
            if not is_broken(root) and (root or not self.faults):
                is_empty = root is None or (isinstance(root, Scalar) and root.value is None)
                found = "is empty" if is_empty or root is None else f"{kind_of(root)} is no configuration"
                self._fault(1, (), f"{found}; write queues: and at least one queue below it")
            return None
        top = Section(keys=root, where=(), line=1)
        for key, entry in root.entries.items():
            if key not in TOP_KEYS:
                self._fault(entry.line, (key,), unknown_key(key, TOP_KEYS))
        web = self._options(WebOptions, self._section(top, "web"))
        ledger = self._options(LedgerOptions, self._ledger(top)) if "ledger" in root.entries else None
        queues = self._queues(top)
        hosts = self._hosts(top)
        if self.faults or web is None:
            return None
        return Config(
            web=web,
            ledger=ledger,
            queues=MappingProxyType(queues),
            hosts=MappingProxyType(hosts),
            file=self._file,
        )

    def _fault(self, line: int, where: Where, text: str) -> None:
        self.faults.append(Fault(line=line, where=where, text=text))

    def _section(self, around: Section, key: str, *, apart: frozenset[str] = frozenset()) -> Section | None:
        """Return the mapping below a key; no key and no value are an empty one."""
        where = (*around.where, key)
        entry = around.keys.entries.get(key)
        line = entry.line if entry else around.line
        match entry.node if entry else None:
            case Keys() as keys:
                return Section(keys=keys, where=where, line=line, apart=apart)
            case None | Scalar(value=None, is_broken=False):
                empty = Keys(line=line, entries={}, values=1, depth=0)
                return Section(keys=empty, where=where, line=line, apart=apart)
            case node:
                if not is_broken(node):
                    self._fault(line, where, f"{kind_of(node)} is not a mapping; write keys and values below it")
                return None

    def _ledger(self, top: Section) -> Section | None:
        """Return the section of the ledger; an address alone stands for a section with nothing else."""
        entry = top.keys.entries["ledger"]
        if isinstance(entry.node, Scalar) and isinstance(entry.node.value, str):
            keys = Keys(line=entry.line, entries={"url": entry}, values=1, depth=1)
            return Section(keys=keys, where=("ledger",), line=entry.line)
        return self._section(top, "ledger")

    def _options(self, model: type[M], section: Section | None) -> M | None:
        if section is None:
            return None
        options, faults = validate(model, section, self._document.variables)
        self.faults.extend(faults)
        return from_folder(options, self._folder) if options else None

    def _queues(self, top: Section) -> dict[QueueName, QueueSection]:
        queues: dict[QueueName, QueueSection] = {}
        section = self._section(top, "queues")
        if section is None:
            return queues
        if not section.keys.entries:
            found = "is empty" if "queues" in top.keys.entries else "is missing"
            self._fault(section.line, section.where, f"{found}; write at least one queue below it")
        for name, entry in section.keys.entries.items():
            if not re.fullmatch(QUEUE_NAME, name):
                right = "write at most 64 letters, digits, '_', '.' and '-', first a letter or '_'"
                self._fault(entry.line, (*section.where, name), f"is not a queue name; {right}")
            if queue := self._queue(self._section(section, name, apart=READ_HERE)):
                queues[QueueName(name)] = queue
        return queues

    def _queue(self, section: Section | None) -> QueueSection | None:
        if section is None:
            return None
        system = self._system(section)
        if system is None:
            return None
        options = self._options(self._systems[system].queue, section)
        healing = self._options(self._systems[system].healing, self._section(section, "healing"))
        return QueueSection(system=system, options=options, healing=healing) if options and healing else None

    def _system(self, section: Section) -> str | None:
        where = (*section.where, "system")
        entry = section.keys.entries.get("system")
        right = f"write {listed(self._systems)}"
        match entry.node if entry else None:
            case None:
                self._fault(section.line, where, f"is missing; {right}")
            case Scalar(is_broken=True):
                pass
            case Scalar(value=str(system)) if system in self._systems:
                return system
            case Scalar(value=str(), text=text, line=line):
                self._fault(line, where, f"{quote(text)} is not a known system; {right}")
            case node:
                self._fault(node.line, where, text_expected(node, where))
        return None

    def _hosts(self, top: Section) -> dict[str, HostOptions]:
        hosts: dict[str, HostOptions] = {}
        section = self._section(top, "hosts")
        if section is None:
            return hosts
        owners = dict.fromkeys(section.keys.entries, "")
        for name, entry in section.keys.entries.items():
            if not name:
                self._fault(entry.line, (*section.where, name), "is no host name; write the name that workers record")
            if options := self._options(HostOptions, self._section(section, name)):
                hosts[name] = options
                self._refuse_doubles(name, options, section, owners)
        return hosts

    def _refuse_doubles(self, name: str, options: HostOptions, section: Section, owners: dict[str, str]) -> None:
        """Refuse an alias that is another host's name or alias; `owners` has every name so far."""
        seen: set[str] = set()
        for index, alias in enumerate(options.aliases):
            owner = owners.setdefault(alias, name)
            is_double = owner != name or alias in seen
            seen.add(alias)
            if alias == name or not is_double:
                continue
            found = (
                f"{quote(alias)} is also an alias of {quote(owner)}" if owner else f"{quote(alias)} is a host itself"
            )
            where = (*section.where, name, "aliases", index)
            self._fault(line_of(section, (name, "aliases", index)), where, f"{found}; keep one of the two")


def line_of(section: Section, path: Where) -> int:
    """Return the line of a place in a section, or of the nearest one around it that is there."""
    found: Entry | None = Entry(line=section.line, node=section.keys)
    for step in path:
        found = (child(found.node, step) if found else None) or found
    return found.line if found else section.line


def from_folder(options: M, folder: Path) -> M:
    """Return options whose paths, at any depth, begin at the folder of the file that names them."""
    old = {name: getattr(options, name) for name in type(options).model_fields}
    new = {name: _part_from_folder(part, folder) for name, part in old.items()}
    return options.model_copy(update={name: part for name, part in new.items() if part != old[name]})


def _part_from_folder(part: object, folder: Path) -> object:
    match part:
        case Path():
            return folder / part
        case BaseModel():
            return from_folder(part, folder)
        case dict():
            return {key: _part_from_folder(value, folder) for key, value in part.items()}
        case list():
            return [_part_from_folder(value, folder) for value in part]
        case tuple() if type(part) is tuple:
            return tuple(_part_from_folder(value, folder) for value in part)
    return part
