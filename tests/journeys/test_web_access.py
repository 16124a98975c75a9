"""TLS and passwords as they are installed: who gets in, what is renewed without a restart, and who cannot disturb."""

import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import yaml
from cryptography import x509

from tests.lab import queuemedic
from tests.lab.certificates import Authority, Certificate
from tests.lab.prometheus import Prometheus
from tests.lab.queuemedic import Serving
from tests.lab.sqlite_queue import make_queue
from tests.lab.waiting import wait_until

PASSWORD = "s3cret-pässword"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
USERS = {"basic_auth_users": {"prometheus": HASH}}


class Site:
    """A configuration with a web configuration, and the certificates of both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.clients = Authority(folder), Authority(folder, "Clients")
        self.own = folder / "tls"
        self.own.mkdir()
        self.file = folder / "web.yml"
        self.install(self.authority.issue("server"))
        self.config = folder / "queuemedic.yml"
        web = {"listen": "127.0.0.1:0", "config_file": "web.yml", "enable_lifecycle": True}
        queues = {"q": make_queue(folder / "q.db")}
        self.config.write_text(yaml.safe_dump({"web": web, "queues": queues}))

    def install(self, certificate: Certificate) -> None:
        """Put a certificate where the server reads it."""
        (self.own / "server.key").write_bytes(certificate.key_file.read_bytes())
        (self.own / "server.pem").write_bytes(certificate.cert_file.read_bytes())

    def tls(self, **more: Any) -> dict[str, Any]:
        """Return the section."""
        return {"tls_server_config": {"cert_file": "tls/server.pem", "key_file": "tls/server.key", **more}}

    def mutual(self, **more: Any) -> dict[str, Any]:
        """Return the section that asks for a certificate."""
        return self.tls(client_ca_file=str(self.clients.ca_file), client_auth_type="RequireAndVerifyClientCert", **more)

    def write(self, *sections: dict[str, Any]) -> None:
        """Write the web configuration."""
        whole: dict[str, Any] = {}
        for section in sections:
            whole |= section
        self.file.write_text(yaml.safe_dump(whole))

    def trust(self, certificate: Certificate | None = None, authority: Authority | None = None) -> ssl.SSLContext:
        """Return what a client verifies by, and shows."""
        context = ssl.create_default_context(cafile=(authority or self.authority).ca_file)
        if certificate:
            context.load_cert_chain(certificate.cert_file, certificate.key_file)
        return context

    @contextmanager
    def serving(self, **client: Any) -> Iterator[Serving]:
        """Run it; with TLS unless told otherwise."""
        options = {"scheme": "https", "verify": self.trust(), **client}
        with queuemedic.serving(self.config, self.folder, **options) as served:
            yield served

    def scrapes(self, served: Serving, health: str, **client: Any) -> None:
        """Let a Prometheus scrape, until it finds the target as it should."""
        with Prometheus(served.address.partition("://")[2], **client) as prometheus:
            wait_until(lambda: prometheus.targets()[0].health == health, within=30, what=f"the target is {health}")
            wait_until(lambda: prometheus.query("up")[0][1] == (health == "up"), within=10, what="up is known")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A folder with everything."""
    return Site(tmp_path)


def serial(address: str, trust: ssl.SSLContext) -> int:
    """Connect, and return the serial number of the server's certificate."""
    host, port = address.partition("://")[2].split(":")
    with socket.create_connection((host, int(port)), 5) as plain, trust.wrap_socket(plain, server_hostname=host) as end:
        shown = end.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


def raw(served: Serving, trust: ssl.SSLContext | None = None) -> socket.socket:
    """Open a connection."""
    host, port = served.address.partition("://")[2].split(":")
    plain = socket.create_connection((host, int(port)), timeout=15)
    return trust.wrap_socket(plain, server_hostname=host) if trust else plain


def test_prometheus_scrapes_with_tls_and_a_password(site: Site) -> None:
    """It verifies the server and is known; with another authority, a wrong password or none it is down."""
    site.write(site.tls(), USERS)
    with site.serving(auth=("prometheus", PASSWORD)) as served:
        assert f"address={served.address}" in served.log
        tls = {"scheme": "https", "tls_config": {"ca_file": str(site.authority.ca_file)}}
        auth = {"basic_auth": {"username": "prometheus", "password": PASSWORD}}
        site.scrapes(served, "up", **tls, **auth)
        site.scrapes(served, "down", **tls, basic_auth={"username": "prometheus", "password": "wrong"})
        site.scrapes(served, "down", **tls)
        site.scrapes(served, "down", **auth)
        site.scrapes(served, "down", scheme="https", tls_config={"ca_file": str(site.clients.ca_file)}, **auth)
        for secret in (PASSWORD, HASH, HASH[7:], "BEGIN"):
            assert secret not in served.log


def test_prometheus_scrapes_with_a_certificate_of_its_own(site: Site) -> None:
    """Without one, or with one of another authority, it is down."""
    site.write(site.mutual())
    client = site.clients.issue("prometheus")
    with site.serving(verify=site.trust(client)) as served:
        stranger = site.authority.issue("stranger")
        for shown, health in ((client, "up"), (stranger, "down"), (None, "down")):
            own = {"cert_file": str(shown.cert_file), "key_file": str(shown.key_file)} if shown else {}
            tls = {"ca_file": str(site.authority.ca_file), **own}
            site.scrapes(served, health, scheme="https", tls_config=tls)


def test_only_the_names_that_are_allowed_come_in(site: Site) -> None:
    """A certificate of the right authority with another name is closed out."""
    site.write(site.mutual(client_allowed_sans=["prometheus.test", "192.0.2.7"]))
    named = site.clients.issue("named", hosts=["prometheus.test"], addresses=[])
    addressed = site.clients.issue("addressed", hosts=[], addresses=["192.0.2.7"])
    other = site.clients.issue("other", hosts=["other.test"], addresses=[])
    with site.serving(verify=site.trust(named)) as served:
        assert httpx.get(f"{served.address}/metrics", verify=site.trust(addressed)).status_code == 200
        for shown in (other, None):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{served.address}/metrics", verify=site.trust(shown))


def test_an_authority_that_another_has_signed_is_one(site: Site) -> None:
    """As for Go, the file says where a chain may end; whoever else the authority above it has signed stays out."""
    middle = Authority(site.folder, "Middle", signed_by=site.clients)
    site.write(site.tls(client_ca_file=str(middle.ca_file), client_auth_type="RequireAndVerifyClientCert"))
    with site.serving(verify=site.trust(middle.issue("prometheus"))) as served:
        assert served.get("/metrics").status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.address}/metrics", verify=site.trust(site.clients.issue("beside")))


def test_a_certificate_may_be_asked_for_only_if_there_is_one(site: Site) -> None:
    """VerifyClientCertIfGiven: without one a client comes in, with a wrong one it does not."""
    site.write(site.tls(client_ca_file=str(site.clients.ca_file), client_auth_type="VerifyClientCertIfGiven"))
    with site.serving() as served:
        assert served.get("/metrics").status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{served.address}/metrics", verify=site.trust(site.authority.issue("stranger")))


def test_no_version_below_the_lowest_is_spoken(site: Site) -> None:
    """TLS 1.2 where 1.3 is the lowest; and plain HTTP never is."""
    site.write(site.tls(min_version="TLS13"))
    with site.serving() as served:
        old = site.trust()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            raw(served, old)
        with pytest.raises(httpx.TransportError):
            httpx.get(served.address.replace("https", "http"))


def test_a_certificate_is_renewed_without_a_restart(site: Site) -> None:
    """New connections get the new one; a broken one is not taken, and said once."""
    site.write(site.tls())
    with site.serving() as served:
        first = serial(served.address, site.trust())
        site.install(site.authority.issue("renewed"))
        wait_until(lambda: serial(served.address, site.trust()) != first, within=15, what="the new certificate")
        second = serial(served.address, site.trust())
        (site.own / "server.pem").write_text("broken")
        wait_until(lambda: "web.config_failed" in served.log, within=15, what="the broken one is noticed")
        assert serial(served.address, site.trust()) == second
        time_to_say_it_again = len(served.log)
        assert served.get("/metrics").status_code == 200
        assert served.log.count("web.config_failed") == 1, served.log[time_to_say_it_again:]


def test_who_is_taken_out_is_out_on_an_open_connection_too(site: Site) -> None:
    """Passwords are checked at each request; TLS that is asked for later closes what is open without it."""
    site.write(USERS)
    client = {"auth": ("prometheus", PASSWORD), "scheme": "http"}
    with site.serving(**client) as served:
        assert served.get("/metrics").status_code == 200
        other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
        site.write({"basic_auth_users": {"somebody": other}})
        wait_until(lambda: served.get("/metrics").status_code == 401, within=15, what="out")
        site.file.write_text("")
        wait_until(lambda: "web.config_failed" in served.log, within=15, what="noticed")
        assert served.get("/metrics").status_code == 401
        with raw(served) as open_before:
            open_before.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"Unauthorized\n"):
                answer += open_before.recv(4096) or pytest.fail("closed too early")
            assert answer.startswith(b"HTTP/1.1 401 ")
            site.write(site.tls())
            assert open_before.recv(4096) == b""
        assert httpx.get(f"{served.address.replace('http', 'https')}/metrics", verify=site.trust()).status_code == 200


def test_a_reload_takes_up_another_web_configuration(site: Site) -> None:
    """And refuses one that is wrong together with everything else that is."""
    site.write(USERS)
    with site.serving(auth=("prometheus", PASSWORD), scheme="http") as served:
        site.file.write_text("basic_auth_users: {prometheus: s3cret}")
        config = yaml.safe_load(site.config.read_text())
        config["queues"]["bad"] = {"system": "matomo", "matomo_config": "nowhere.ini.php"}
        site.config.write_text(yaml.safe_dump(config))
        answer = served.post("/-/reload")
        assert answer.status_code == 500
        assert "web.yml:1: basic_auth_users.prometheus: the value is not a bcrypt hash" in answer.text
        assert "queues.bad" in answer.text
        del config["queues"]["bad"]
        config["queues"]["q"]["stuck_after"] = "2h"
        site.config.write_text(yaml.safe_dump(config))
        assert served.post("/-/reload").status_code == 500
        assert served.scrape().value("limit_seconds", queue="q", limit="stuck_after") == 3600
        del config["web"]["config_file"]
        site.config.write_text(yaml.safe_dump(config))
        assert served.post("/-/reload").status_code == 200
        assert httpx.get(f"{served.address}/metrics").status_code == 200


@pytest.mark.parametrize("command", [["serve"], ["config", "check"]])
def test_a_web_configuration_that_is_wrong_is_said_at_the_start(command: list[str], site: Site) -> None:
    """Exit code 2, with file, line and path."""
    site.file.write_text("basic_auth_users:\n  prometheus: s3cret\n")
    ended = queuemedic.run("--config", site.config, *command)
    fault = "web.yml:2: basic_auth_users.prometheus: the value is not a bcrypt hash"
    assert (ended.code, fault in ended.err) == (2, True)
    assert "s3cret" not in ended.err + ended.out


def test_no_secret_of_the_web_configuration_is_ever_shown(site: Site) -> None:
    """Neither by what is in force, nor by the list of processes, nor in an answer."""
    site.write(site.tls(), USERS)
    shown = queuemedic.run("--config", site.config, "config", "show")
    assert (shown.code, str(site.file) in shown.out) == (0, True)
    with site.serving(auth=("prometheus", PASSWORD)) as served:
        answers = [served.get(path) for path in ("/", "/metrics", "/-/healthy", "/-/ready")]
        process = Path(f"/proc/{served.process.pid}")
        seen = [shown.out, shown.err, served.log, (process / "cmdline").read_text(), (process / "environ").read_text()]
        seen += [answer.text + str(answer.headers) for answer in answers]
        assert [answer.status_code for answer in answers] == [200] * 4
        for secret in (PASSWORD, HASH, "BEGIN"):
            assert not any(secret in one for one in seen)


def test_headers_that_are_configured_are_on_every_answer(site: Site) -> None:
    """In place of our own of that name, and on a refusal too."""
    policy = "frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "Strict-Transport-Security": "max-age=600", "X-XSS-Protection": ""}
    site.write(USERS, {"http_server_config": {"http2": True, "headers": headers}})
    with site.serving(auth=("prometheus", PASSWORD), scheme="http") as served:
        for answer in (served.get("/"), served.get("/nothing"), httpx.get(served.address)):
            assert answer.headers.get_list("content-security-policy") == [policy]
            assert answer.headers["strict-transport-security"] == "max-age=600"
            assert "x-xss-protection" not in answer.headers


def test_who_guesses_or_says_nothing_disturbs_no_scrape(site: Site) -> None:
    """Guesses, handshakes that never end, half a header, a header of a megabyte: scrapes go on, nothing is left."""
    site.write(site.tls(), USERS)
    with site.serving(auth=("prometheus", PASSWORD)) as served, ExitStack() as open_ones:
        assert served.get("/metrics").status_code == 200
        threads, descriptors = served.threads(), served.descriptors()
        for _ in range(40):
            open_ones.enter_context(raw(served))
            half = open_ones.enter_context(raw(served))
            half.sendall(b"\x16\x03\x01")
        for _ in range(20):
            slow = open_ones.enter_context(raw(served, site.trust()))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        with suppress(OSError):
            huge = open_ones.enter_context(raw(served, site.trust()))
            huge.sendall(b"GET / HTTP/1.1\r\nAuthorization: Basic " + b"A" * 1_000_000)
        guess = b"Authorization: Basic " + b64encode(b"prometheus:wrong") + b"\r\n\r\n"
        for _ in range(20):
            guessing = open_ones.enter_context(raw(served, site.trust()))
            guessing.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + guess)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert served.get("/metrics").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1
        assert served.threads() <= threads + 2
        wait_until(lambda: served.descriptors() <= descriptors + 20, within=20, what="silent ones are closed")
    assert "Traceback" not in served.log


def test_half_a_request_is_not_waited_for(site: Site) -> None:
    """A header now and then does not keep a connection open for ever."""
    site.write(USERS)
    with site.serving(auth=("prometheus", PASSWORD), scheme="http") as served, raw(served) as slow:
        slow.settimeout(1)
        began = time.monotonic()
        has_ended = False
        with suppress(ConnectionError):
            slow.sendall(b"GET /metrics HTTP/1.1\r\n")
            while not has_ended and time.monotonic() - began < 20:
                with suppress(TimeoutError):
                    has_ended = slow.recv(1) == b""
                slow.sendall(b"X: y\r\n")
        assert 5 < time.monotonic() - began < 15


def test_there_are_never_too_many_connections_in_a_handshake(site: Site) -> None:
    """The limit counts them too, so files never run out."""
    site.write(site.tls())
    with site.serving() as served, ExitStack() as open_ones:
        for _ in range(300):
            open_ones.enter_context(raw(served))
        wait_until(lambda: served.descriptors() > 200, within=5, what="they are met")
        wait_until(lambda: served.descriptors() < 300, within=5, what="those too many are turned away")


@pytest.mark.parametrize("cost", [10, 16])
def test_it_ends_whatever_clients_do(cost: int, site: Site) -> None:
    """SIGTERM within five seconds: a handshake, a password being checked, a client that never reads, half a request."""
    users = {"prometheus": HASH, "dear": bcrypt.hashpw(b"x", bcrypt.gensalt(4)).decode().replace("$04$", f"${cost}$")}
    site.write(site.tls(), {"basic_auth_users": users})
    with site.serving(auth=("prometheus", PASSWORD)) as served, ExitStack() as open_ones:
        open_ones.enter_context(raw(served)).sendall(b"\x16\x03\x01")
        open_ones.enter_context(raw(served, site.trust())).sendall(b"GET / HTTP/1.1\r\n")
        right, wrong = (b64encode(f"{name}".encode()) for name in (f"prometheus:{PASSWORD}", "dear:y"))
        deaf = open_ones.enter_context(raw(served, site.trust()))
        deaf.sendall((b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + right + b"\r\n\r\n") * 50)
        for _ in range(10):
            guessing = open_ones.enter_context(raw(served, site.trust()))
            guessing.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + wrong + b"\r\n\r\n")
        served.get("/metrics")
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 5
    assert "Traceback" not in served.log


def test_a_hash_can_be_made_with_what_is_installed(site: Site) -> None:
    """The command of the how-to: it asks for the password, so that no list of commands or processes holds it."""
    command = (Path(__file__).parents[2] / "docs" / "howto" / "run-as-a-service.md").read_text()
    (code,) = [line for line in command.splitlines() if "bcrypt.hashpw" in line]
    program = code.partition("-c '")[2].removesuffix("'")
    asked = "import getpass; getpass.getpass = lambda *_: 'typed'; " + program
    made = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()
    site.write({"basic_auth_users": {"prometheus": made}})
    assert queuemedic.run("--config", site.config, "config", "check").code == 0
    assert bcrypt.checkpw(b"typed", made.encode())
