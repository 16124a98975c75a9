"""The configuration: what is accepted, and every fault with its exact message."""

from datetime import timedelta
from pathlib import Path

import pytest

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.options import TlsOptions
from healers.options import HostOptions
from queuemedic import config as config_module
from queuemedic.config import Config, ListenAddress, QueueSection, WebOptions, find_file, load, write
from tests.unit.config_files import ENVIRONMENT, SYSTEMS, MemoryOptions, options, read, without_rights

SAMPLES = Path(__file__).parent.parent / "samples" / "config"


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yml")), ids=lambda sample: sample.stem)
def test_each_sample_has_exactly_the_faults_it_expects(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file per fault, with its message in the first lines; none shows a secret."""
    monkeypatch.chdir(SAMPLES)
    lines = sample.read_bytes().splitlines()
    expected = [line.decode().removeprefix("# expect: ") for line in lines if line.startswith(b"# expect: ")]
    with pytest.raises(ConfigurationError) as caught:
        load(Path(sample.name), ENVIRONMENT, SYSTEMS)
    assert list(caught.value.faults) == expected
    assert expected
    assert "s3cret" not in str(caught.value)


def test_a_configuration_holds_what_the_file_says(tmp_path: Path) -> None:
    """Everything that is not written has its default."""
    loaded = read(
        tmp_path,
        """
web: {listen: '[::1]:0'}
queues:
  mails: {system: memory, seed: 5, stuck_after: 1h30m, healing: {mode: disabled}}
  Calls_2.a-b: {system: memory}
hosts:
  web03: {aliases: [web, web03]}
  app01:
""",
    )
    mails = MemoryOptions(seed=5, stuck_after=timedelta(minutes=90))
    assert loaded == Config(
        web=WebOptions(listen=ListenAddress("::1", 0)),
        queues={
            QueueName("mails"): QueueSection(system="memory", options=mails),
            QueueName("Calls_2.a-b"): QueueSection(system="memory", options=MemoryOptions()),
        },
        hosts={"web03": HostOptions(aliases=("web", "web03")), "app01": HostOptions()},
    )
    assert loaded.file == tmp_path / "queuemedic.yml"


@pytest.mark.parametrize("section", ["web:", "hosts:", "hosts: {}", "web: {}", ""])
def test_a_section_without_content_has_its_defaults(section: str, tmp_path: Path) -> None:
    """A section whose lines are all comments is no fault."""
    loaded = read(tmp_path, f"queues: {{mails: {{system: memory, healing: }}}}\n{section}\n")
    assert loaded.web == WebOptions(listen=ListenAddress("127.0.0.1", 9847))
    assert loaded.hosts == {}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9847", "127.0.0.1", 9847),
        ("[::1]:0", "::1", 0),
        (":65535", "", 65535),
        ("db_1.test:80", "db_1.test", 80),
    ],
)
def test_listen_addresses(text: str, host: str, port: int, tmp_path: Path) -> None:
    """An address is written as it is read."""
    listen = read(tmp_path, f"queues: {{mails: {{system: memory}}}}\nweb: {{listen: '{text}'}}").web.listen
    assert (listen.host, listen.port, str(listen)) == (host, port, text)


@pytest.mark.parametrize(
    "text", ["2024-01-01", "1:30", "010", "0x10", "1e3", "1_000", ".5", "<<", "=", "'no'", '"12"', "!!str 12"]
)
def test_what_yaml_versions_disagree_on_is_text(text: str, tmp_path: Path) -> None:
    """Only what every reader takes for a boolean, a number or nothing is one."""
    assert options(tmp_path, f"from: {text}").from_ == text.removeprefix("!!str ").strip("'\"")


def test_numbers_and_booleans_may_be_in_quotes(tmp_path: Path) -> None:
    """A variable is a text, so a text that is a number has to be one."""
    loaded = options(tmp_path, "max_hosts: ${NUMBER}\nmax_duty: '0.5'\nstrict: 'true'\nmax_kinds: '010'")
    assert (loaded.max_hosts, loaded.max_duty, loaded.strict, loaded.max_kinds) == (5, 0.5, True, 10)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${YAML}", "[1, 2]: {a: b} # no comment"),
        ("'${NESTED}'", "${NUMBER}$$"),
        ("a${NUMBER}b$$c$d${NUMBER}", "a5b$c$d5"),
        ("$${NUMBER}", "${NUMBER}"),
        ("$$${NUMBER}", "$5"),
        ("$$$$", "$$"),
        ("^a$", "^a$"),
        ("|\n  ${NUMBER}\n  $5", "5\n$5\n"),
    ],
)
def test_variables_are_filled_in_once_and_stay_text(text: str, filled: str, tmp_path: Path) -> None:
    """What a variable holds is neither YAML nor looked through for variables."""
    assert options(tmp_path, f"from: {text}").from_ == filled


def test_variables_in_a_merged_mapping_are_filled_in_once(tmp_path: Path) -> None:
    """Each use of an anchor is filled in from what is written there."""
    text = "computed:\n  a: &a {sql: $$$${NUMBER}}\n  b: {<<: *a, cost: 3}\n  c: *a"
    computed = options(tmp_path, text.replace("{NUMBER}}", "{NUMBER}'}").replace("sql: ", "sql: '")).computed
    assert [one.sql for one in computed.values()] == ["$${NUMBER}"] * 3


def test_merged_keys_give_way_to_own_keys_and_to_earlier_ones(tmp_path: Path) -> None:
    """As YAML's merge key says; a key that is merged and given is not given twice."""
    loaded = read(
        tmp_path,
        """
queues:
  mails: &mails {system: memory, seed: 1, max_hosts: 10}
  calls: &calls {<<: *mails, seed: 2}
  faxes: {seed: 3, <<: [*calls, {max_hosts: 20, max_kinds: 30}]}
""",
    )
    calls, faxes = (loaded.queues[QueueName(name)].options for name in ("calls", "faxes"))
    assert calls == MemoryOptions(seed=2, max_hosts=10)
    assert faxes == MemoryOptions(seed=3, max_hosts=10, max_kinds=30)


def test_paths_begin_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any depth; an absolute path stays, and a later change of folder changes nothing."""
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    text = "files: [a.pem, /b.pem]\nnamed: {c: ../c.pem}\ntls: {ca_file: ca.pem}"
    loaded = options(Path("conf"), text)
    folder = tmp_path / "conf"
    assert loaded.files == (folder / "a.pem", Path("/b.pem"))
    assert loaded.named == {"c": folder / "../c.pem"}
    assert loaded.tls == TlsOptions(ca_file=folder / "ca.pem")
    assert "files" in loaded.model_fields_set
    assert "poll_every" not in loaded.model_fields_set


@pytest.mark.parametrize(
    "text",
    [
        "queues: {mails: {system: memory}}",
        "queues: {mails: {system: memory, seed: 5, stale_after: 7m, stuck_after: 1d1h1m1s}}\nweb: {listen: ':0'}",
        "queues: {mails: {system: database, url: 'sqlite:////srv/a@b.db', run_expected_every: null}}",
        "queues: {mails: {system: database, url: sqlite://, from: 'a$$b', host: {sql: '$$1'}, tls: {ca_file: a}}}",
        "queues: {mails: {system: database, url: sqlite://, from: '$$$$', host: '$${A}', named: {'a$$': '$${A}'}}}",
        "queues: {mails: {system: database, url: sqlite://, computed: {a: {sql: 'no'}}, files: [a], named: {'1': b}}}",
        "queues: {a: {system: memory}, b.c: {system: memory}}\nhosts: {'12': {aliases: ['no', '']}, 'a$b': }",
    ],
)
def test_what_is_written_loads_again_to_the_same(text: str, tmp_path: Path) -> None:
    """From another folder and without the environment too, and writing it again changes nothing."""
    loaded = read(tmp_path, text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = read(elsewhere, write(loaded), {})
    assert again == loaded
    assert write(again) == write(loaded)


def test_none_is_left_out_only_where_it_is_the_default(tmp_path: Path) -> None:
    """An explicit `null` that overrides a default has to be seen."""
    text = "queues: {mails: {system: database, url: sqlite://, run_expected_every: , computed: {a: {sql: x}}}}"
    written = write(read(tmp_path, text))
    assert "run_expected_every: null" in written
    assert written.count("null") == 1


def test_a_byte_order_mark_is_read_past(tmp_path: Path) -> None:
    """Some editors of Windows write one."""
    assert read(tmp_path, b"\xef\xbb\xbfqueues: {mails: {system: memory}}\r\n").queues.keys() == {"mails"}


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    """With what to do; none of these has a line."""
    secret = tmp_path / "secret.yml"
    secret.touch(0o600)
    messages = {
        tmp_path / "none.yml": "does not exist; write the path of a configuration file",
        tmp_path: "is a directory; write the path of a file",
        secret / "x": "cannot be read (Not a directory); write the path of another file",
        Path("a\0b"): "cannot be read (is no path); write the path of another file",
    }
    for file, message in messages.items():
        with pytest.raises(ConfigurationError) as caught:
            load(file, {}, SYSTEMS)
        assert caught.value.faults == (f"{file}: {message}",)


def test_a_file_without_the_right_to_read_it_is_said_to_be(tmp_path: Path) -> None:
    """It is not taken for one that is not there."""
    file = tmp_path / "queuemedic.yml"
    file.touch(0o000)
    with without_rights():
        assert find_file(None, {}, tmp_path) == file
        with pytest.raises(ConfigurationError) as caught:
            load(file, {}, SYSTEMS)
    assert caught.value.faults == (f"{file}: may not be read; give this account the right to read it",)


def test_a_file_is_found_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for, then the variable, then this folder, then the system's."""
    explicit, named, here, system = (tmp_path / name for name in ("a.yml", "b.yml", "queuemedic.yml", "etc.yml"))
    monkeypatch.setattr(config_module, "SYSTEM_FILE", system)
    environment = {"QUEUEMEDIC_CONFIG": str(named)}
    assert find_file(None, {}, tmp_path) is None
    assert find_file(None, {"QUEUEMEDIC_CONFIG": ""}, tmp_path) is None
    for file in (system, here, named, explicit):
        file.touch()
    assert find_file(explicit, environment, tmp_path) == explicit
    assert find_file(None, environment, tmp_path) == named
    assert find_file(None, {}, tmp_path) == here
    assert find_file(None, {}, Path("/nowhere")) == system


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    """Falling back to another file would watch something else than was meant."""
    (tmp_path / "queuemedic.yml").touch()
    missing = tmp_path / "missing.yml"
    for asked_by, explicit, environment in (
        ("--config", missing, {}),
        ("QUEUEMEDIC_CONFIG", None, {"QUEUEMEDIC_CONFIG": str(missing)}),
    ):
        with pytest.raises(ConfigurationError) as caught:
            find_file(explicit, environment, tmp_path)
        message = f"{asked_by}: {missing} does not exist; write the path of a configuration file"
        assert caught.value.faults == (message,)


def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    """Reading it then says that it does not exist."""
    link = tmp_path / "queuemedic.yml"
    link.symlink_to(tmp_path / "gone.yml")
    assert find_file(None, {}, tmp_path) == link
