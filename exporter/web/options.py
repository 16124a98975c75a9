"""Prometheus' web configuration as options: what the web side asks of whoever connects.

The format is that of exporter-toolkit 0.17 (web/tls_config.go, web/handler.go), and a file that it takes means the same
here or is refused: what Python's ssl cannot do says what to write instead, and nothing is ever weaker than written.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from exporter.options import Options

BCRYPT_HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
LEAST_COST, MOST_COST = 4, 18
GO_DURATION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
GO_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

NOT_VERIFIED: Final[Mapping[str, str]] = {
    "RequestClientCert": "VerifyClientCertIfGiven",
    "RequireClientCert": "RequireAndVerifyClientCert",
    "RequireAnyClientCert": "RequireAndVerifyClientCert",
}
# Go's name → OpenSSL's; TLS 1.3 chooses its own, there as here.
CIPHERS: Final[Mapping[str, str | None]] = {
    "TLS_AES_128_GCM_SHA256": None,
    "TLS_AES_256_GCM_SHA384": None,
    "TLS_CHACHA20_POLY1305_SHA256": None,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
CURVES: Final[Mapping[str, str]] = {
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "X25519": "X25519",
}


def _given(value: object) -> object:
    if value is None:
        raise ValueError("nothing is written here; write keys and values below it")
    return value


def _names(value: object) -> object:
    if value is None:
        raise ValueError("nothing is written here; write names in [ ], or leave the key out")
    return value


def _version(value: object) -> object:
    if value in ("TLS10", "TLS11"):
        raise ValueError(f"{value!r} is not available, since it is broken; write TLS12 or TLS13")
    return value


def _client_auth(value: object) -> object:
    if isinstance(value, str) and value in NOT_VERIFIED:
        raise ValueError(f"{value!r} verifies nothing, and is not available; write {NOT_VERIFIED[value]}")
    return value


def _cipher(value: str) -> str:
    if value not in CIPHERS:
        right = "write those that Go calls secure, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        raise ValueError(f"{value!r} is not a cipher suite to be had here; {right}")
    return value


def _curve(value: str) -> str:
    if value not in CURVES:
        raise ValueError(f"{value!r} is not a curve; write one of {', '.join(CURVES)}")
    return value


def _hash(value: str) -> str:
    found = BCRYPT_HASH.fullmatch(value)
    if not found:
        raise ValueError("the value is not a bcrypt hash; write one, such as htpasswd -nBC 10 prints")
    if not LEAST_COST <= int(found[1]) <= MOST_COST:
        raise ValueError(f"the hash has a cost that is not usable; write one of cost {LEAST_COST} to {MOST_COST}")
    return value


def _header(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{value!r} holds a character that no header can; write printable ASCII on one line")
    return value


def _interval(value: object) -> object:
    if value == 0:
        return timedelta(0)
    if isinstance(value, str) and GO_DURATION.fullmatch(value):
        parts = re.findall(r"([\d.]+)([a-zµ]+)", value)
        return timedelta(seconds=sum(float(number) * GO_UNITS[unit] for number, unit in parts))
    raise ValueError(f"{value!r} is not a duration; write a number and ms, s, m or h, such as 100ms or 1s")


Version = Annotated[Literal["TLS12", "TLS13"], BeforeValidator(_version)]
Header = Annotated[str, AfterValidator(_header)]


class TlsServerOptions(Options):
    """The certificate of the web server, and what it asks of a client's."""

    cert: str | None = None
    key: str | None = Field(None, repr=False)
    client_ca: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    client_auth_type: Annotated[
        Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"],
        BeforeValidator(_client_auth),
    ] = "NoClientCert"
    client_ca_file: Path | None = None
    client_allowed_sans: Annotated[tuple[str, ...] | None, BeforeValidator(_names)] = None
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[str, AfterValidator(_cipher)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[Annotated[str, AfterValidator(_curve)], ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is made of."""
        return tuple(file for file in (self.cert_file, self.key_file, self.client_ca_file) if file)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for text, file in (("cert", "cert_file"), ("key", "key_file")):
            given = [name for name in (text, file) if getattr(self, name)]
            if len(given) != 1:
                raise ValueError(f"has {'both' if given else 'neither'} {text} {'and' if given else 'nor'} {file};"
                                 f" write one of the two")  # fmt: skip
        if self.client_ca and self.client_ca_file:
            raise ValueError("has both client_ca and client_ca_file; write one of the two")
        has_ca, verifies = bool(self.client_ca or self.client_ca_file), self.client_auth_type != "NoClientCert"
        if has_ca and not verifies:
            raise ValueError("has an authority for clients, and asks for no certificate;"
                             " write client_auth_type: RequireAndVerifyClientCert")  # fmt: skip
        if verifies and not has_ca:
            raise ValueError("verifies clients by no authority; write client_ca_file")
        requires = self.client_auth_type == "RequireAndVerifyClientCert"
        if self.client_allowed_sans is not None and not (requires and self.client_allowed_sans):
            raise ValueError("client_allowed_sans needs names, and client_auth_type: RequireAndVerifyClientCert;"
                             " write both, or leave the key out")  # fmt: skip
        if (self.min_version, self.max_version) == ("TLS13", "TLS12"):
            raise ValueError("min_version is above max_version; write TLS12 for the first, or TLS13 for the second")
        if self.cipher_suites and not any(map(CIPHERS.get, self.cipher_suites)) and self.max_version == "TLS12":
            raise ValueError("cipher_suites has none for TLS 1.2; name one, or leave max_version out")
        if len(self.curve_preferences) > 1:
            raise ValueError("curve_preferences has more than one, and only one can be set; write one, or none")
        return self


class HeaderOptions(Options):
    """Headers of every answer; an empty one is not sent."""

    content_security_policy: Header = Field("", alias="Content-Security-Policy")
    x_frame_options: Literal["deny", "sameorigin"] | None = Field(None, alias="X-Frame-Options")
    x_content_type_options: Literal["nosniff"] | None = Field(None, alias="X-Content-Type-Options")
    x_xss_protection: Header = Field("", alias="X-XSS-Protection")
    strict_transport_security: Header = Field("", alias="Strict-Transport-Security")


class HttpServerOptions(Options):
    """How HTTP is spoken: version 1.1, whatever `http2` says."""

    http2: bool = True
    headers: HeaderOptions = HeaderOptions()


class RateLimitOptions(Options):
    """One request each `interval`, and `burst` of them at once; no interval is no limit."""

    interval: Annotated[timedelta, BeforeValidator(_interval)] = timedelta(0)
    burst: int = Field(0, ge=0, le=1_000_000)

    @model_validator(mode="after")
    def _lets_some_through(self) -> Self:
        if self.interval and not self.burst:
            raise ValueError("has an interval and no burst, which lets no request through; write burst: 1 or more")
        return self


class WebConfig(Options):
    """The whole file. A section is there with its content or not at all, so that half a file opens no door."""

    tls_server_config: Annotated[TlsServerOptions | None, BeforeValidator(_given)] = None
    http_server_config: HttpServerOptions = HttpServerOptions()
    basic_auth_users: Mapping[str, Annotated[str, AfterValidator(_hash)]] = Field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    rate_limit: RateLimitOptions = RateLimitOptions()

    @field_validator("basic_auth_users")
    @classmethod
    def _usable_names(cls, users: Mapping[str, str]) -> Mapping[str, str]:
        if not users:
            raise ValueError("names nobody; write a user, or leave the key out to ask for no password")
        if any(":" in name for name in users):
            raise ValueError("has a name with a colon, which no client can send; write names without")
        return users
