"""Find the configuration that is in force: a file, or none in a folder that needs none."""

import os
from pathlib import Path
from types import MappingProxyType

from exporter.errors import ConfigurationError
from exporter.jobs import QueueName
from exporter.queues.matomo import MatomoOptions

from .config import FILE_NAME, SYSTEM_FILE, Config, QueueSection, find_file, is_there, load
from .systems import OPTIONS

MATOMO_CONFIG = Path("config") / "config.ini.php"


def load_config(file: Path | None) -> Config:
    """Return the configuration; raises ConfigurationError with every fault, or if there is nothing to watch."""
    found = find_file(file, os.environ, Path())
    if found is not None:
        return load(found, os.environ, OPTIONS)
    matomo = Path.cwd() / MATOMO_CONFIG
    if is_there(matomo):
        section = QueueSection(system="matomo", options=MatomoOptions(matomo_config=matomo))
        return Config(queues=MappingProxyType({QueueName("matomo"): section}))
    raise ConfigurationError(
        f"there is nothing to watch: no {FILE_NAME} here, no {SYSTEM_FILE}, and no {MATOMO_CONFIG} of a Matomo;"
        " write a configuration, give --config, or go to Matomo's folder"
    )
