"""What views are written as."""

import json

import pytest

from exporter.views import HealsView
from tests.lab.scenes import a_heal


@pytest.mark.parametrize("text", ["web02", "é", "\ud800half"])
def test_whatever_a_driver_hands_on_is_written_as_json(text: str) -> None:
    """Half of a surrogate pair, too, which UTF-8 cannot say; and what is written can be sent."""
    written = HealsView(heals=(a_heal(host=text),)).write(indent=2)
    assert written.startswith('{\n  "version": 1,\n  "heals": [')
    assert json.loads(written.encode())["heals"][0]["host"] == text
