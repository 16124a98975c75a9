"""Say durations and foreign texts so that a person can read them, on a terminal as on a page; pure."""

from typing import Final

UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def show_span(seconds: float) -> str:
    """Show a duration by its two largest units, such as `3h 12m`."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in UNITS:
        number, rest = divmod(rest, size)
        if number or parts or unit == "s":
            parts.append(f"{number}{unit}")
    return " ".join(part for place, part in enumerate(parts[:2]) if place == 0 or not part.startswith("0"))


def printable(text: str) -> str:
    """Show what is not printable as codes: what a row holds must steer no terminal, and turn no writing around."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
