"""Make the TLS of the web server from its options; OpenSSL's own words are for people, no key is in them.

Every file is read once and given to OpenSSL from memory, so that what was checked is what is used.
"""

import ipaddress
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .options import CIPHERS, CURVES, TlsServerOptions

MOST_BYTES: Final = 1 << 20
VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
NAME_KINDS: Final = frozenset({"DNS", "email", "IP Address", "URI"})
MODES: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class Unusable(Exception):
    """A certificate, key or authority cannot be used; `key` is that of the options."""

    def __init__(self, key: str, text: str) -> None:
        self.key, self.text = key, text
        super().__init__(f"{key}: {text}")


def make_context(options: TlsServerOptions) -> ssl.SSLContext:
    """Return what handshakes are made with; raises Unusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = VERSIONS[options.min_version], VERSIONS[options.max_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # As in Go, what is among the authorities of the clients is one, also where another has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if options.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if options.cipher_suites:
        suites = [CIPHERS[name] for name in options.cipher_suites]
        if any(suites):
            with _available("cipher_suites", "write others, or leave the key out"):
                context.set_ciphers(":".join(filter(None, suites)))
        else:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
    for curve in options.curve_preferences:
        with _available("curve_preferences", "write CurveP256, CurveP384 or CurveP521, or leave the key out"):
            context.set_ecdh_curve(CURVES[curve])
    _load_certificate(context, options)
    _load_authority(context, options)
    context.verify_mode = MODES[options.client_auth_type]
    return context


@contextmanager
def _available(key: str, right: str) -> Iterator[None]:
    """Say what is to be written where this Python's OpenSSL cannot do it: X25519 is no curve of Python 3.11.2."""
    try:
        yield
    except (ssl.SSLError, ValueError) as cause:
        raise Unusable(key, f"is not to be had with {ssl.OPENSSL_VERSION} and this Python; {right}") from cause


def names_of(certificate: object) -> frozenset[str]:
    """Return the alternative names of a client's certificate, as `SSLSocket.getpeercert` gives it."""
    if not isinstance(certificate, dict):
        return frozenset()
    names = certificate.get("subjectAltName", ())
    return frozenset(_same_form(kind, str(name)) for kind, name in names if kind in NAME_KINDS)


def _same_form(kind: str, name: str) -> str:
    """Write an address as Go does; OpenSSL writes IPv6 at full length."""
    try:
        return str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name
    except ValueError:
        return name


def _load_certificate(context: ssl.SSLContext, options: TlsServerOptions) -> None:
    cert_key = "cert_file" if options.cert_file else "cert"
    cert = _content("cert_file", options.cert_file, options.cert)
    key = _content("key_file", options.key_file, options.key)
    try:
        with _in_memory(cert) as cert_path, _in_memory(key) as key_path:
            # Without a password a key that has one would ask for it on the terminal.
            context.load_cert_chain(cert_path, key_path, password="")
    except (ssl.SSLError, ValueError) as cause:
        reason = getattr(cause, "reason", None) or "NOT PEM"
        right = "write a certificate and its own key, both PEM, the key without a password"
        raise Unusable(cert_key, f"the certificate and its key cannot be used ({_words(reason)}); {right}") from None


def _load_authority(context: ssl.SSLContext, options: TlsServerOptions) -> None:
    if not (options.client_ca or options.client_ca_file):
        return
    key = "client_ca_file" if options.client_ca_file else "client_ca"
    authority = _content("client_ca_file", options.client_ca_file, options.client_ca)
    try:
        context.load_verify_locations(cadata=authority.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as cause:
        reason = getattr(cause, "reason", None) or "NOT PEM"
        text = f"the authority of the clients cannot be used ({_words(reason)}); write certificates, PEM"
        raise Unusable(key, text) from None


def _content(key: str, file: Path | None, text: str | None) -> bytes:
    if file is None:
        return (text or "").encode()
    try:
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES)
    except PermissionError:
        raise Unusable(key, f"{file} may not be read; give this account the right to read it") from None
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "is no path"
        raise Unusable(key, f"{file} cannot be read ({reason}); write the path of a file that is there") from None


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Give what was read a path, since ssl loads certificates from paths only; nothing of it is on a disk."""
    descriptor = os.memfd_create("pem")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()
