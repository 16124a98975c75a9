"""A Singer tap and target for Meltano: one record and one state a second, for as long and to the end that is asked.

Standard library only; each is started by a line of shell in the project's folder (`meltano.Project`). The target
repeats the states, as Singer wants it; Meltano saves them to the payload of the run. The tap is told what to do by
environment variables, which Meltano passes on to its plugins.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable

SECONDS = "LAB_TAP_SECONDS"
END = "LAB_TAP_END"
ENDS = ("ok", "fail", "hang")
EXIT_CODE = 7


def tap() -> int:
    """Emit for so many seconds; then end well, or with an exit code, or fall silent and never end."""
    _say(type="SCHEMA", stream="lab", schema={"properties": {"id": {"type": "integer"}}}, key_properties=["id"])
    for number in range(int(os.environ[SECONDS])):
        _say(type="RECORD", stream="lab", record={"id": number})
        _say(type="STATE", value={"bookmarks": {"lab": {"id": number}}})
        time.sleep(1)
    if os.environ[END] == "hang":
        signal.pause()
    return EXIT_CODE if os.environ[END] == "fail" else 0


def target(lines: Iterable[str]) -> int:
    """Repeat each state, until there is no more input."""
    for message in map(json.loads, lines):
        if message["type"] == "STATE":
            print(json.dumps(message["value"]), flush=True)
    return 0


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(tap() if sys.argv[1] == "tap" else target(sys.stdin))
