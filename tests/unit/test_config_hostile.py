"""The configuration where somebody means it ill, or knows no better: no hang, no crash, no secret in a message."""

from pathlib import Path
from typing import Self

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import field_validator, model_validator

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.options import QueueOptions
from healers.options import HostOptions
from queuemedic.config import Config, QueueSection, load, write
from queuemedic.systems import SystemOptions
from tests.unit.config_files import ENVIRONMENT, SYSTEMS, DatabaseOptions, faults, read


class TalkativeOptions(QueueOptions):
    """A queue whose checks say more than they should."""

    note: str = ""
    token: str = ""

    @field_validator("note", "token")
    @classmethod
    def _tell(cls, value: str) -> str:
        if value:
            raise ValueError(f"found {value} and {value!r}; write nothing")
        return value

    @model_validator(mode="after")
    def _tell_all(self) -> Self:
        raise ValueError(f"{self.poll_every} is no good")


def test_a_secret_is_in_no_message_and_no_text_of_the_configuration(tmp_path: Path) -> None:
    """Neither where it is accepted nor where it is refused."""
    loaded = read(tmp_path, "queues: {mails: {system: database, url: '${URL}?password=s3cret', password: s3cret}}")
    assert "s3cret" not in f"{loaded!r} {write(loaded)}"
    assert "url: mysql://reader:***@db1/mails?password=***\n    password: '***'\n" in write(loaded)


@pytest.mark.parametrize(
    "line", ["url: '{0}'", "password: {0}", "password: !{0} x", "url: *{0}", "password: [{0}, !{0} x]"]
)
def test_what_is_wrong_with_a_secret_does_not_show_it(line: str, tmp_path: Path) -> None:
    """Not even where YAML takes it for a tag or an alias."""
    text = f"queues:\n  mails:\n    system: database\n    {line.format('s3cret')}\n    max_hosts: ten\n"
    assert "s3cret" not in "".join(found := faults(tmp_path, text))
    assert found[-1] == "queuemedic.yml:5: queues.mails.max_hosts: 'ten' is not a whole number; write digits"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("note: ${SECRET}", "note: found ${SECRET} and '${SECRET}'; write nothing"),
        ("note: a ${SECRET}", "note: found a ${SECRET} and 'a ${SECRET}'; write nothing"),
        ("note: ${MANY}", "note: found ${MANY} and '${MANY}'; write nothing"),
        ("token: s3cret", "token: the value is not usable; correct it"),
        ('note: "\\e[31m\\nred"', "note: found  [31m red and '\\x1b[31m\\nred'; write nothing"),
        (f"note: {'x' * 1000}", f"note: found {'x' * 494}…"),
        ("", "0:00:15 is no good"),
    ],
    ids=["variable", "variable within", "variable with breaks", "secret", "terminal", "long", "whole"],
)
def test_a_check_that_says_too_much_is_cut_short(line: str, fault: str, tmp_path: Path) -> None:
    """Whatever the options of a system quote, no secret and nothing that a terminal acts on gets out."""
    file = tmp_path / "queuemedic.yml"
    file.write_text(f"queues:\n  mails:\n    system: talkative\n    {line}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file, ENVIRONMENT, {"talkative": SystemOptions(TalkativeOptions)})
    assert [one.partition("queues.mails")[2].lstrip(".: ") for one in caught.value.faults] == [fault]


def test_a_variable_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """Many uses of a long one would take all memory."""
    file = tmp_path / "queuemedic.yml"
    file.write_text("queues: {mails: {system: " + "'" + "${LONG}" * 10_000 + "'}}")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"LONG": "x" * 100_000}, SYSTEMS)
    message = "the environment variable LONG makes the text too long; write a shorter one"
    assert caught.value.faults == (f"{file}:1: queues.mails.system: {message}",)


@example(text="\x85")
@example(text="\u2028 $${A}")
@example(text="a: \n - 'b'\n\n")
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_text_is_written_so_that_it_loads_again(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever YAML, or a variable, could take it for; as a value and as a key."""
    section = QueueSection(
        system="database", options=DatabaseOptions.model_validate({"url": "sqlite://", "from": text})
    )
    given_config = Config(queues={QueueName("mails"): section}, hosts={text: HostOptions(aliases=(text,))})
    assert read(tmp_path_factory.getbasetemp(), write(given_config), {}) == given_config


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "queuemedic.yml:1: is empty; write queues: and at least one queue below it"),
        (b"a: 1\n" * 300_000, "queuemedic.yml:1: is longer than 1048576 bytes; write a shorter file"),
        ("queues: {}\n".encode("utf-16"), "queuemedic.yml:1: is not UTF-8 here; save the file as UTF-8"),
        (b"[" * 1_000_000, "queuemedic.yml:1: is deeper than 32 levels; write it flatter"),
        (b"- " * 500_000, "queuemedic.yml:1: is deeper than 32 levels; write it flatter"),
        (
            b"queues:\n  mails:\n    system: memory\n" + b"".join(b"    k%d: 1\n" % i for i in range(45_000)),
            None,
        ),
        (
            b"a: &a {" + b"".join(b"k%d: 1, " % i for i in range(20_000)) + b"}\n" + b"b:\n  <<: *a\n" * 20_000,
            "queuemedic.yml:5: b.'<<': more than 100000 values, counting what aliases name; write fewer",
        ),
    ],
    ids=["empty", "long", "utf16", "brackets", "dashes", "keys", "merges"],
)
@pytest.mark.timeout(20)
def test_what_is_too_much_is_refused_in_time(content: bytes, fault: str | None, tmp_path: Path) -> None:
    """Size, depth and what aliases unfold to are bounded before anything is built from them."""
    found = faults(tmp_path, content)
    assert found == [fault] if fault else len(found) == 101


def test_of_very_many_faults_the_first_are_shown(tmp_path: Path) -> None:
    """So that a terminal shows what to begin with."""
    queues = "".join(f"  q{number}: {{system: memory, seed: x}}\n" for number in range(150))
    found = faults(tmp_path, f"queues:\n{queues}")
    assert len(found) == 101
    assert found[0] == "queuemedic.yml:2: queues.q0.seed: 'x' is not a whole number; write digits"
    assert found[-1] == "queuemedic.yml: there are more faults; correct these first"


@given(content=st.one_of(st.binary(), st.text("abq:-?&*!|>'\"{}[],#% \t\n<$é\u2028", max_size=60).map(str.encode)))
def test_no_content_ends_in_anything_but_faults(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each on one line, with nothing that a terminal would act on."""
    found = faults(tmp_path_factory.getbasetemp(), content)
    assert found
    assert all(fault.isprintable() for fault in found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab${}\n", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sql", "a", "ca_file"]), inner),
    max_leaves=4,
)
KEYS = st.sampled_from([*DatabaseOptions.model_fields, "from", "healing", "system", "other"])


@given(section=st.dictionaries(KEYS, VALUES), web=VALUES, hosts=VALUES)
def test_no_value_ends_in_anything_but_faults(
    section: object, web: object, hosts: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever stands where something else should; each fault names its path."""
    queue = {"system": "database", "url": "sqlite://"} | (section if isinstance(section, dict) else {})
    text = yaml.safe_dump({"queues": {"mails": queue}, "web": web, "hosts": hosts})
    found: tuple[str, ...] = ()
    try:
        read(tmp_path_factory.getbasetemp(), text)
    except ConfigurationError as error:
        found = error.faults
    assert [fault for fault in found if not fault.partition(": ")[2].startswith(("queues", "web", "hosts"))] == []
