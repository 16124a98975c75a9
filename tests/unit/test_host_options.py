"""How a host is asked: what has to be given, what must not be, and the two files that are read at start."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.errors import ConfigurationError
from healers.options import HostOptions
from healers.probes.known_hosts import read_host_keys, read_key
from tests.lab.hosts import make_key

SSH = {"via": "ssh", "address": "10.0.0.3", "user": "queuemedic", "key_file": "key", "known_hosts": "known"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"via": "ssh"}, "found via: ssh without address, user, key_file, known_hosts; add what is missing"),
        ({"via": "local", "port": 2222}, "found via: local and port; write via: ssh, or leave these out"),
        ({"address": "10.0.0.3"}, "found no via and address; write via: ssh, or leave these out"),
        (SSH | {"user": "-oProxyCommand"}, "'-oProxyCommand' is no user name"),
        (SSH | {"user": "root\n"}, "is no user name"),
        (SSH | {"address": "me@10.0.0.3"}, "'me@10.0.0.3' is no address"),
        (SSH | {"address": "10.0.0.3:22"}, "is no address"),
        (SSH | {"address": "10.0.0"}, "'10.0.0' is no address"),
        (SSH | {"machine_id": "x" * 32}, "String should match pattern"),
    ],
)
def test_hosts_that_cannot_be_asked_so(settings: dict[str, object], message: str) -> None:
    """Each fault is named with what would be right."""
    with pytest.raises(ValidationError) as refused:
        HostOptions.model_validate(settings)
    assert message in str(refused.value)


@pytest.mark.parametrize("address", ["10.0.0.3", "fe80::1", "web03.example.org", "web03"])
def test_hosts_that_can_be_asked(address: str) -> None:
    """Addresses and names are both taken; a host may also have aliases alone, or be this machine."""
    assert HostOptions.model_validate(SSH | {"address": address}).address == address
    assert HostOptions.model_validate({"via": "local", "aliases": ["app"]}).via == "local"
    assert HostOptions.model_validate({"aliases": ["app"]}).via is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("@cert-authority * {key}", "@cert-authority is not supported"),
        ("@revoked 10.0.0.3 {key}", "@revoked is not supported"),
        ("|1|abc=|def= {key}", "the name is hashed"),
        ("*.example.org {key}", "is a pattern"),
        ("10.0.0.3 ssh-ed25519", "is no whole line"),
        ("10.0.0.3 ssh-ed25519 AAAAC3NzaC1lZDI1", "the key cannot be read"),
        ("10.0.0.3 ssh-ed25519 !!!!", "the key cannot be read"),
        ("10.0.0.3 ssh-dss AAAA", "'ssh-dss' is not supported"),
        ("[10.0.0.3]:2222 {key}", "has no key of 10.0.0.3"),
    ],
)
def test_known_hosts_lines_that_would_not_hold(line: str, message: str, tmp_path: Path) -> None:
    """A line that a person might rely on and that would not be honoured is refused, with its number."""
    known = tmp_path / "known_hosts"
    known.write_text(f"# pinned\n{line.format(key=make_key(tmp_path / 'key'))}\n")
    with pytest.raises(ConfigurationError, match=message) as refused:
        read_host_keys(known, address="10.0.0.3")
    if "has no key" not in message:
        assert str(refused.value).startswith(f"{known}:2: ")


@pytest.mark.parametrize(
    ("name", "address", "port"),
    [
        ("10.0.0.3", "10.0.0.3", 22),
        ("[10.0.0.3]:2222", "10.0.0.3", 2222),
        ("Web03,10.0.0.3", "web03", 22),
        ("fe80::1", "fe80:0::1", 22),
    ],
)
def test_known_hosts_lines_that_hold(name: str, address: str, port: int, tmp_path: Path) -> None:
    """A key is found by address, by name whatever its case, and by port."""
    known = tmp_path / "known_hosts"
    public = make_key(tmp_path / "key")
    known.write_text(f"{name}  {public} a comment\n")
    (key,) = read_host_keys(known, address=address, port=port)
    assert f"ssh-ed25519 {key.get_base64()}" == public


def test_key_files_that_cannot_be_used(tmp_path: Path) -> None:
    """A missing, open, public or broken key is refused with the command that helps."""
    key = tmp_path / "key"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_key(key)
    public = make_key(key)
    assert read_key(key).get_name() == "ssh-ed25519"
    key.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"mode 0644\); run: chmod 600"):
        read_key(key)
    key.chmod(0o600)
    for content, message in ((public, "holds a public key"), ("nonsense", "no usable private key; make one with")):
        key.write_text(content)
        with pytest.raises(ConfigurationError, match=message):
            read_key(key)
