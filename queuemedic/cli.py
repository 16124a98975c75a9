"""The command line: a group that imports a command only when it is used."""

import io
import resource
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import click

from exporter.errors import QueuemedicError

COMMANDS = MappingProxyType(
    {
        "serve": "Watch the queues and publish metrics for Prometheus.",
        "check": "Read every queue once and show what is waiting, started and stuck.",
        "heal": "Show which jobs would be put back and why the others are not; put them back.",
        "history": "Show what was put back or refused, by whom and on what evidence.",
        "hosts": "Try the hosts that are asked about workers, and print what has to be there.",
        "pause": "Stop healing, until it is resumed.",
        "resume": "Let healing go on.",
        "config": "Check, show or describe the configuration.",
        "bundle": "Copy the shipped alert rules, dashboards, or files to deploy it.",
        "demo": "Show a live queue whose workers really die, and are healed.",
    }
)


class LazyGroup(click.Group):
    """Knows its commands by name; `commands/NAME.py` has the command `NAME`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f".commands.{cmd_name}", __package__), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an error of ours is its message on standard error and its exit code."""
        try:
            return super().invoke(ctx)
        except QueuemedicError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: $QUEUEMEDIC_CONFIG, then ./queuemedic.yml, then /etc/queuemedic/queuemedic.yml.",
)
@click.version_option(version("queuemedic"), prog_name="queuemedic")
@click.pass_context
def main(context: click.Context, config_file: Path | None) -> None:
    """Watch SQL job queues and tell Prometheus what an operator must know.

    In a folder with a Matomo (config/config.ini.php) or a Meltano (meltano.yml), check and serve need no
    configuration. With NO_COLOR in the environment nothing is printed in colour.

    \b
    Examples:
      queuemedic demo
      cd /var/www/matomo && queuemedic check
      queuemedic --config /etc/queuemedic/queuemedic.yml serve
      eval "$(_QUEUEMEDIC_COMPLETE=bash_source queuemedic)"  # complete names
    """
    _leave_no_core()
    context.obj = config_file
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no ✗ shows a question mark; to end with 1 would say that something is stuck.
        sys.stdout.reconfigure(errors="replace")


def _leave_no_core() -> None:
    """Let no crash write what is in memory, passwords among it, to a disk; what is started from here neither.

    No file is written under a limit of 0. What `core_pattern` pipes to a program knows no limit (core(5)), so nothing
    of the memory is handed over: no kind of mapping is in `coredump_filter`. `PR_SET_DUMPABLE` would do both, but gives
    the entries in /proc to root, where an administrator of this account, and the probe, look.
    """
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/coredump_filter").write_text("0", "ascii")
