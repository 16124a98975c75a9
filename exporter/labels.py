"""Keep open sets of label values bounded: first come, sticky, the rest as `other`; a value is looked up at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

OTHER = "other"
LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Up to `limit` values that have a label of their own, as keys in the order in which they came."""

    limit: int
    known: Mapping[str, None] = field(default_factory=lambda: MappingProxyType({}))

    def admit(self, values: Iterable[str]) -> Self:
        """Return the set with as many of the new values as fit; the order of `values` decides which."""
        new = [value for value in dict.fromkeys(values) if value not in self.known and value != OTHER]
        room = self.limit - len(self.known)
        if not new or room <= 0:
            return self
        return type(self)(limit=self.limit, known={**self.known, **dict.fromkeys(new[:room])})

    def label(self, value: str) -> str:
        """Return the value, or `other` where it has no label of its own."""
        return value if value in self.known else OTHER

    def dropped(self, values: Iterable[str]) -> int:
        """Count the different values that are folded."""
        return len({value for value in values if value not in self.known})
