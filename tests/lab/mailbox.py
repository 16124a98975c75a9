"""A mail server that takes every message over STARTTLS (RFC 3207) and keeps it; it passes nothing on."""

import email
import email.policy
import socketserver
import ssl
from email.message import EmailMessage

from .certificates import Certificate
from .listener import Listener
from .ports import LOOPBACK


class Mailbox(Listener):
    """`with Mailbox(certificate) as mailbox:`, and give `mailbox.address` as the server to send mail through."""

    def __init__(self, certificate: Certificate) -> None:
        self.messages: list[EmailMessage] = []
        """All so far; only ever appended to."""
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate.cert_file, certificate.key_file)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    def _make_server(self, address: tuple[str, int]) -> "_Server":
        return _Server(address, self)


class _Server(socketserver.ThreadingTCPServer):
    def __init__(self, address: tuple[str, int], mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        super().__init__(address, _Session)


class _Session(socketserver.StreamRequestHandler):
    """One connection; each command is answered before the next is read."""

    server: _Server
    timeout = 10

    def handle(self) -> None:
        self._say("220 lab")
        is_secret = has_quit = False
        while not has_quit and (line := self.rfile.readline()):
            command = line.split()[0].upper()
            if command == b"EHLO":
                self._say("250 lab" if is_secret else "250-lab\r\n250 STARTTLS")
            elif command == b"STARTTLS":
                self._say("220 go on")
                self._encrypt()
                is_secret = True
            elif command == b"DATA" and is_secret:
                self._say("354 go on")
                self._keep()
                self._say("250 kept")
            else:
                has_quit = command == b"QUIT"
                self._say("221 bye" if has_quit else "250 yes" if is_secret else "530 STARTTLS first")

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode("ascii"))

    def _encrypt(self) -> None:
        super().finish()
        self.request = self.server.mailbox.tls.wrap_socket(self.connection, server_side=True)
        self.setup()

    def _keep(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b"."))
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        self.server.mailbox.messages.append(message)
