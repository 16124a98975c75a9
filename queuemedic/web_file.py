"""Read Prometheus' web configuration (`web.config_file`), with the machinery of the main one.

Faults are lines of the same form. Nothing is filled in from the environment: the file is Prometheus' own, and a `$` in
a hash is a `$`. Paths in it are relative to its folder. Raises ConfigurationError only.
"""

from pathlib import Path
from types import MappingProxyType

from exporter.errors import ConfigurationError
from exporter.files import stamps
from exporter.web.access import Access
from exporter.web.options import WebConfig
from exporter.web.tls import Unusable, make_context

from .config import read_file
from .config_file.faults import Fault, show_all
from .config_file.sections import from_folder, line_of
from .config_file.source import read_yaml
from .config_file.tree import Keys
from .config_file.validation import Section, validate

WANTED = "write tls_server_config or basic_auth_users, or take web.config_file out of the configuration"


def read_access(path: Path) -> Access:
    """Return what the file asks of whoever connects, with the certificates that it names read."""
    read_at = stamps([path])
    document = read_yaml(read_file(path), None)
    if not isinstance(document.root, Keys) or not document.root.entries:
        faults = document.faults or (Fault(line=1, text=f"asks for nothing; {WANTED}"),)
        raise ConfigurationError(*show_all(faults, path))
    section = Section(keys=document.root, where=(), line=1)
    options, found = validate(WebConfig, section, document.variables)
    if options is None or document.faults:
        raise ConfigurationError(*show_all((*document.faults, *found), path))
    options = from_folder(options, path.parent.absolute())
    tls = options.tls_server_config
    read_at |= stamps(tls.files if tls else ())
    try:
        context = make_context(tls) if tls else None
    except Unusable as cause:
        where = ("tls_server_config", cause.key)
        fault = Fault(line=line_of(section, where), where=where, text=cause.text)
        raise ConfigurationError(fault.show(path)) from None
    names = tls.client_allowed_sans if tls else None
    headers = options.http_server_config.headers.model_dump(by_alias=True)
    return Access(
        tls=context,
        allowed_names=None if names is None else frozenset(names),
        users=MappingProxyType(dict(options.basic_auth_users)),
        headers=MappingProxyType({name: value for name, value in headers.items() if value}),
        request_interval=options.rate_limit.interval,
        burst=options.rate_limit.burst,
        stamps=MappingProxyType(read_at),
    )
