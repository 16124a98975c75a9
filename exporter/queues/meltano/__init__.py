"""Meltano's runs in its system database, SQLite or PostgreSQL: table `runs`, `job` before 2.2. Facts of 2.20 to 4.4."""

from .options import MeltanoOptions
from .queue import MeltanoQueue
from .source import PROJECT_FILE

__all__ = ["PROJECT_FILE", "MeltanoOptions", "MeltanoQueue"]
