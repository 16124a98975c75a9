"""Find the configuration that is in force: a file, or none in a folder that needs none."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.options import QueueOptions
from exporter.queues.matomo import MatomoOptions
from exporter.queues.meltano import PROJECT_FILE, MeltanoOptions
from healers.options import HostOptions

from .config import FILE_NAME, SYSTEM_FILE, Config, QueueSection, find_file, is_there, load
from .systems import OPTIONS

MATOMO_CONFIG = Path("config") / "config.ini.php"


def load_config(file: Path | None) -> Config:
    """Return the configuration; raises ConfigurationError with every fault, or if there is nothing to watch."""
    found = find_file(file, os.environ, Path())
    if found is not None:
        return load(found, os.environ, OPTIONS)
    here = Path.cwd()
    queues: dict[QueueName, QueueSection] = {}
    if is_there(here / MATOMO_CONFIG):
        options: QueueOptions = MatomoOptions(matomo_config=here / MATOMO_CONFIG)
        queues[QueueName("matomo")] = QueueSection(system="matomo", options=options)
    if is_there(here / PROJECT_FILE):
        queues[QueueName("meltano")] = QueueSection(system="meltano", options=MeltanoOptions(project=here))
    if queues:
        this_machine = {socket.gethostname(): HostOptions(via="local")}
        return Config(queues=MappingProxyType(queues), hosts=MappingProxyType(this_machine))
    raise ConfigurationError(
        f"there is nothing to watch: no {FILE_NAME} here, no {SYSTEM_FILE}, no {MATOMO_CONFIG} of a Matomo and no"
        f" {PROJECT_FILE} of a Meltano; write a configuration, give --config, or go to the folder of one of the two"
    )


def load_again(config: Config) -> Config:
    """Return what the file of a configuration says now; one that is gone is a fault, and no other takes its place.

    What was found without a file is looked for anew. Raises ConfigurationError.
    """
    return load(config.file, os.environ, OPTIONS) if config.file else load_config(None)


def only_queue(config: Config, name: str | None) -> Config:
    """Return a configuration with one of its queues, or as it is; raises ConfigurationError that names them."""
    if name is None:
        return config
    if name not in config.queues:
        known = ", ".join(config.queues)
        raise ConfigurationError(f"--queue: there is no queue {name!r}; the configuration has {known}")
    return replace(config, queues=MappingProxyType({QueueName(name): config.queues[QueueName(name)]}))
