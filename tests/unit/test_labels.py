"""Labels are bounded, and looking one up costs the same however many there are."""

from typing import ClassVar

from exporter.labels import Labels


class Compared(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    times: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    def __hash__(self) -> int:
        return str.__hash__(self)


def test_the_first_values_have_labels_of_their_own() -> None:
    """Sticky, in the order in which they came; `other` is none of them."""
    labels = Labels(limit=3).admit(["b", "other", "a"]).admit(["a", "d", "c"])
    assert list(labels.known) == ["b", "a", "d"]
    assert [labels.label(value) for value in ("a", "c", "other")] == ["a", "other", "other"]
    assert labels.dropped(["a", "c", "c", "e"]) == 2


def test_a_value_is_not_compared_with_every_label() -> None:
    """100,000 names of jobs at each poll, each compared with 500 labels, would take seconds."""
    labels = Labels(limit=500).admit(f"kind{number}" for number in range(500))
    strays = [Compared(f"stray{number}") for number in range(500)]
    Compared.times = 0
    assert labels.admit(strays) is labels
    assert {labels.label(stray) for stray in strays} == {"other"}
    assert labels.dropped(strays) == 500
    assert Compared.times < 5 * len(strays)
