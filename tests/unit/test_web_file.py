"""Prometheus' web configuration: what is accepted, every fault with its exact message, and what is taken up when."""

import os
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from exporter.errors import ConfigurationError
from exporter.web.access import OPEN, Access, Watch
from exporter.web.options import TlsServerOptions
from exporter.web.tls import Unusable, make_context, names_of
from queuemedic.web_file import read_access
from tests.lab.certificates import Authority, Certificate
from tests.unit.config_files import without_rights

SAMPLES = Path(__file__).parent.parent / "samples" / "web_config"
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
OTHER = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yml")), ids=lambda sample: sample.stem)
def test_each_sample_has_exactly_the_faults_it_expects(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file per fault, with its message in the first lines; none shows a hash, a password or a key."""
    monkeypatch.chdir(SAMPLES)
    lines = sample.read_text().splitlines()
    expected = [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]
    with pytest.raises(ConfigurationError) as caught:
        read_access(Path(sample.name))
    assert [fault.replace(f"{SAMPLES}/", "") for fault in caught.value.faults] == expected
    assert expected
    for secret in ("s3cret", "$2", "5312345"):
        assert secret not in str(caught.value)


class Files:
    """A web configuration and a certificate in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "web.yml"
        self.authority = Authority(folder)
        self.server = self.authority.issue("server")

    def tls(self, *lines: str, certificate: Certificate | None = None) -> str:
        """Return a section with a certificate."""
        issued = certificate or self.server
        own = f"  cert_file: {issued.cert_file.name}\n  key_file: {issued.key_file.name}\n"
        return f"tls_server_config:\n{own}" + "".join(f"  {line}\n" for line in lines)

    def read(self, text: str) -> Access:
        """Read a file with this content."""
        self.file.write_text(text)
        return read_access(self.file)

    def faults(self, text: str) -> list[str]:
        """Return the faults of a file with this content, each without the folder."""
        with pytest.raises(ConfigurationError) as caught:
            self.read(text)
        return [fault.replace(f"{self.folder}/", "") for fault in caught.value.faults]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """An empty folder with a certificate."""
    return Files(tmp_path)


def test_everything_that_can_be_said(files: Files) -> None:
    """Relative paths begin at the file's folder, wherever the program runs; a dollar sign is one."""
    access = files.read(
        files.tls(
            f"client_ca_file: {files.authority.ca_file.name}",
            "client_auth_type: RequireAndVerifyClientCert",
            "client_allowed_sans: [prometheus, 127.0.0.1]",
            "min_version: TLS13",
            "max_version: TLS13",
            "cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]",
            "prefer_server_cipher_suites: false",
            "curve_preferences: [CurveP384]",
        )
        + f"basic_auth_users: {{alice: {HASH}, bob: '{OTHER}'}}\n"
        + "http_server_config: {http2: false, headers: {X-Frame-Options: deny, X-XSS-Protection: ''}}\n"
        + "rate_limit: {interval: 1m0.5s, burst: 3}\n"
    )
    assert access.tls is not None
    assert access.tls.verify_mode is ssl.CERT_REQUIRED
    assert access.tls.minimum_version is ssl.TLSVersion.TLSv1_3
    assert not access.tls.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert access.allowed_names == frozenset({"prometheus", "127.0.0.1"})
    assert dict(access.users) == {"alice": HASH, "bob": OTHER}
    assert dict(access.headers) == {"X-Frame-Options": "deny"}
    assert (access.request_interval, access.burst) == (timedelta(seconds=60.5), 3)
    assert HASH not in repr(access)


@pytest.mark.parametrize(
    ("line", "method"),
    [
        ("curve_preferences: [X25519]", "set_ecdh_curve"),
        ("cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]", "set_ciphers"),
    ],
)
def test_what_this_openssl_cannot_do_is_a_fault(
    files: Files, monkeypatch: pytest.MonkeyPatch, line: str, method: str
) -> None:
    """As X25519 with Python 3.11.2, although other Pythons take it."""

    def refuse(*_: object) -> None:
        raise ssl.SSLError(1, "[EC: UNKNOWN_GROUP] unknown group")

    monkeypatch.setattr(ssl.SSLContext, method, refuse)
    key = line.partition(":")[0]
    with pytest.raises(
        ConfigurationError, match=rf":\d+: tls_server_config\.{key}: is not to be had with OpenSSL .*; write "
    ):
        files.read(files.tls(line))


def test_what_is_not_said_is_secure(files: Files) -> None:
    """TLS 1.2 at least, the server's own order of ciphers, and clients are asked for nothing."""
    access = files.read(files.tls())
    assert access.tls is not None
    assert access.tls.minimum_version is ssl.TLSVersion.TLSv1_2
    assert access.tls.verify_mode is ssl.CERT_NONE
    assert access.tls.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert (access.allowed_names, access.users, access.headers) == (None, {}, {})


@pytest.mark.parametrize(
    ("suites", "lowest"),
    [
        ("[TLS_AES_128_GCM_SHA256]", ssl.TLSVersion.TLSv1_3),
        ("[TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]", ssl.TLSVersion.TLSv1_2),
    ],
)
def test_no_cipher_that_is_not_named_is_used(suites: str, lowest: ssl.TLSVersion, files: Files) -> None:
    """Where none is named for TLS 1.2 there is no TLS 1.2; else exactly those that are named."""
    tls = files.read(files.tls(f"cipher_suites: {suites}")).tls
    assert tls is not None
    assert tls.minimum_version is lowest
    if lowest is ssl.TLSVersion.TLSv1_2:
        names = {cipher["name"] for cipher in tls.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
        assert names == {"ECDHE-ECDSA-AES256-GCM-SHA384"}


def test_certificates_may_stand_in_the_file(files: Files) -> None:
    """As in Prometheus; nothing is written to a disk for it."""
    cert, key = files.server.cert_file.read_text(), files.server.key_file.read_text()
    indented = {
        name: "".join(f"    {line}\n" for line in text.splitlines()) for name, text in (("c", cert), ("k", key))
    }
    before = set(files.folder.iterdir())
    access = files.read(f"tls_server_config:\n  cert: |\n{indented['c']}  key: |\n{indented['k']}")
    assert access.tls is not None
    assert set(files.folder.iterdir()) - before == {files.file}


def test_a_key_that_is_not_the_certificates_is_refused(files: Files) -> None:
    """With the line of the certificate, and nothing of the key."""
    other = files.authority.issue("other")
    wrong = Certificate(cert_file=files.server.cert_file, key_file=other.key_file)
    assert files.faults(files.tls(certificate=wrong)) == [
        (
            "web.yml:2: tls_server_config.cert_file: the certificate and its key cannot be used (key values mismatch);"
            " write a certificate and its own key, both PEM, the key without a password"
        )
    ]


def test_an_authority_that_is_none_is_refused(files: Files) -> None:
    """It would let nobody in, or everybody."""
    (files.folder / "ca.pem").write_text("nothing")
    (fault,) = files.faults(files.tls("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.pem"))
    assert fault.startswith("web.yml:5: tls_server_config.client_ca_file: the authority of the clients cannot be used")


def test_files_that_may_not_be_read_are_said_to_be(files: Files) -> None:
    """The file itself, and a certificate; and a file that is no text."""
    files.file.write_text(files.tls())
    reason = "may not be read; give this account the right to read it"
    files.file.chmod(0o000)
    files.server.cert_file.chmod(0o000)
    options = TlsServerOptions(cert_file=files.server.cert_file, key_file=files.server.key_file)
    with without_rights():
        with pytest.raises(ConfigurationError) as caught:
            read_access(files.file)
        with pytest.raises(Unusable) as refused:
            make_context(options)
    assert caught.value.faults == (f"{files.file}: {reason}",)
    assert (refused.value.key, refused.value.text) == ("cert_file", f"{files.server.cert_file} {reason}")
    files.file.chmod(0o600)
    files.file.write_bytes(b"basic_auth_users: {a: '\xff'}")
    with pytest.raises(ConfigurationError, match="is not UTF-8 here"):
        read_access(files.file)


def test_names_are_compared_in_the_form_that_go_writes() -> None:
    """OpenSSL writes an IPv6 address at full length; what is no name is left out."""
    names = (("DNS", "a.test"), ("IP Address", "0:0:0:0:0:0:0:1"), ("URI", "spiffe://a"), ("DirName", "x"))
    assert names_of({"subjectAltName": names}) == {"a.test", "::1", "spiffe://a"}
    assert names_of(None) == frozenset()


class Watched:
    """A watch whose looks are counted by hand."""

    def __init__(self, files: Files, text: str) -> None:
        self.files = files
        files.file.write_text(text)
        self.watch = Watch(self.read)

    def read(self) -> Access:
        """Read the file."""
        return read_access(self.files.file)

    def look(self) -> list[str]:
        """Look twice, as often as a change needs; return the events."""
        with structlog.testing.capture_logs() as events:
            self.watch.look()
            self.watch.look()
        return [event["event"] for event in events]

    @property
    def users(self) -> set[str]:
        """Who may come in."""
        return set(self.watch.current.users)


def test_a_change_is_taken_up_when_it_has_settled(files: Files) -> None:
    """Not at the first look, when somebody may still be writing."""
    watched = Watched(files, f"basic_auth_users: {{alice: {HASH}}}")
    assert watched.look() == []
    files.file.write_text(f"basic_auth_users: {{alice: {HASH}, bob: {HASH}}}")
    watched.watch.look()
    assert watched.users == {"alice"}
    assert watched.look() == ["web.config_changed"]
    assert watched.users == {"alice", "bob"}
    assert watched.look() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_text(""),
        lambda file: file.write_text("basic_auth_users: {}"),
        lambda file: file.write_text("basic_auth_users: {mallory: x}"),
        lambda file: file.unlink(),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["empty", "no users", "no hash", "gone", "a folder"],
)
def test_a_file_that_turns_bad_opens_no_door(spoil: Callable[[Path], object], files: Files) -> None:
    """The last good one stays in force, the event comes once, and a good file is taken up again."""
    watched = Watched(files, f"basic_auth_users: {{alice: {HASH}}}")
    spoil(files.file)
    assert watched.look() == ["web.config_failed"]
    assert watched.users == {"alice"}
    assert watched.look() == []
    if files.file.is_dir():
        files.file.rmdir()
    files.file.write_text(f"basic_auth_users: {{bob: {HASH}}}")
    assert watched.look() == ["web.config_changed"]
    assert watched.users == {"bob"}


def test_a_file_that_is_bad_in_another_way_is_said_once_more(files: Files) -> None:
    """Once per change, not once for ever."""
    watched = Watched(files, f"basic_auth_users: {{alice: {HASH}}}")
    files.file.write_text("a: 1")
    assert watched.look() == ["web.config_failed"]
    files.file.write_text("b: 1")
    assert watched.look() == ["web.config_failed"]


def test_a_certificate_that_is_renewed_is_taken_up(files: Files) -> None:
    """Also in two steps, in between which it does not fit its key; the file itself has not changed."""
    watched = Watched(files, files.tls())
    before = watched.watch.current.tls
    renewed = files.authority.issue("renewed")
    files.server.cert_file.write_bytes(renewed.cert_file.read_bytes())
    assert watched.look() == ["web.config_failed"]
    assert watched.watch.current.tls is before
    files.server.key_file.write_bytes(renewed.key_file.read_bytes())
    assert watched.look() == ["web.config_changed"]
    assert watched.watch.current.tls is not before


def test_folders_that_are_swapped_by_a_link_are_seen(files: Files) -> None:
    """As Kubernetes does with a Secret: the path stays, and leads elsewhere at once."""
    for name in ("one", "two"):
        (files.folder / name).mkdir()
        (files.folder / name / "web.yml").write_text(f"basic_auth_users: {{{name}: {HASH}}}")
    data, fresh = files.folder / "data", files.folder / "fresh"
    data.symlink_to("one")
    files.file.symlink_to("data/web.yml")
    watch = Watch(lambda: read_access(files.file))
    fresh.symlink_to("two")
    os.replace(fresh, data)  # noqa: PTH105  as it is called where it is done
    watch.look()
    watch.look()
    assert set(watch.current.users) == {"two"}


def test_without_a_file_there_is_no_door() -> None:
    """And nothing to look at."""
    watch = Watch()
    watch.look()
    assert watch.current is OPEN


def test_a_reload_that_changes_nothing_keeps_what_is_in_force(files: Files) -> None:
    """The very same TLS, so that open connections stay open; another file, or none, is another reading."""
    watched = Watched(files, files.tls())
    before = watched.watch.current
    watched.watch.use(watched.read, watched.read())
    assert watched.watch.current is before
    watched.files.file.write_text(files.tls("min_version: TLS13"))
    watched.watch.use(watched.read, watched.read())
    assert watched.watch.current is not before
    watched.watch.use(None, OPEN)
    assert watched.watch.current is OPEN
    files.file.write_text("")
    assert watched.look() == []


def test_a_surprise_while_looking_is_not_the_end(files: Files) -> None:
    """Whatever fails, the next look follows."""
    watched = Watched(files, f"basic_auth_users: {{alice: {HASH}}}")
    reads = iter([ZeroDivisionError("surprise")])

    def read() -> Access:
        raise next(reads)

    watched.watch._read = read
    files.file.write_text(f"basic_auth_users: {{bob: {HASH}}}")
    watched.watch._look_surely()
    with structlog.testing.capture_logs() as events:
        watched.watch._look_surely()
    assert [event["event"] for event in events] == ["web.config_unread"]
    assert watched.users == {"alice"}
