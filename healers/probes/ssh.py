"""Ask a host over SSH: one command per ask, forced by the host's `authorized_keys`, with the request as its input.

The answer carries the fingerprint of the key by which the machine proved itself.
"""

from dataclasses import replace

from exporter.errors import ConfigurationError

from ..options import HostOptions
from .answer import read_answer
from .command import SshCommand
from .connection import Target
from .known_hosts import read_host_keys, read_key
from .protocol import HostAnswer, NoAnswer, Request, Silence
from .request import make_nonce, write_request


class SshProbe:
    """A host that is asked over SSH; raises ConfigurationError, with every fault of its files, when it is made.

    A fresh ask takes a new connection, and leaves it for the routine ones.
    """

    def __init__(self, options: HostOptions) -> None:
        self._timeout = options.timeout.total_seconds()
        self._command = SshCommand(read_target(options), timeout=self._timeout)

    def ask(self, request: Request, *, fresh: bool) -> HostAnswer | NoAnswer:
        """Ask once; raises nothing."""
        nonce = make_nonce()
        try:
            text = write_request(request, nonce)
        except ValueError as cause:
            return NoAnswer(silence=Silence.BAD_ANSWER, detail=str(cause))
        said = self._command.run(text, fresh=fresh, within=self._timeout)
        if isinstance(said, NoAnswer):
            return said
        answer = read_answer(said.output, exit_status=said.exit_status, nonce=nonce, request=request)
        if isinstance(answer, HostAnswer):
            return replace(answer, host_key=said.host_key)
        return replace(answer, detail=f"{answer.detail}; it says: {said.complaint}") if said.complaint else answer

    def close(self) -> None:
        """End the connection that is kept, and an ask that is under way."""
        self._command.close()


def read_target(options: HostOptions) -> Target:
    """Read the files of a host that is asked over SSH; raise ConfigurationError with the faults of both."""
    if options.address is None or options.user is None or options.key_file is None or options.known_hosts is None:
        raise ConfigurationError("via: ssh needs address, user, key_file and known_hosts")
    faults: list[str] = []
    key = host_keys = None
    try:
        key = read_key(options.key_file)
    except ConfigurationError as error:
        faults.extend(error.faults)
    try:
        host_keys = read_host_keys(options.known_hosts, address=options.address, port=options.port)
    except ConfigurationError as error:
        faults.extend(error.faults)
    if key is None or host_keys is None:
        raise ConfigurationError(*faults)
    return Target(address=options.address, port=options.port, user=options.user, key=key, host_keys=host_keys)
