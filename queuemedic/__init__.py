"""The program: wiring and commands. Decides nothing.

From the top down, imports only downwards: cli, commands, demo, app, config, systems.
"""

from importlib.metadata import version

__version__ = version("queuemedic")
