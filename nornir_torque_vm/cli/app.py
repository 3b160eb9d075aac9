"""The command tree: each subcommand's module is imported only when it is asked for."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from nornir_torque_vm import __version__
from nornir_torque_vm.errors import TorqueVMError

COMMANDS = {
    "address": ("nornir_torque_vm.cli.guests", "Find out the addresses of running guests."),
    "boot": ("nornir_torque_vm.cli.guests", "Start guests on nodes, outside any batch job."),
    "demo": (
        "nornir_torque_vm.cli.demo",
        "Show it all: a lab, a job in four guests, its timeline, nothing left.",
    ),
    "destroy": ("nornir_torque_vm.cli.guests", "Remove the guests of a job and their files."),
    "guests": ("nornir_torque_vm.cli.guests", "List the guests that exist on nodes."),
    "health": ("nornir_torque_vm.cli.guests", "Check that running guests answer as they should."),
    "image": ("nornir_torque_vm.cli.image", "Build and list guest images."),
    "lab": ("nornir_torque_vm.cli.lab", "Bring a cluster in a box up and down, look at it, enter it."),
    "run": ("nornir_torque_vm.cli.run", "Run a job script in guests, without a TORQUE at hand."),
}
"""Subcommand → module that defines it, and its short help (so that --help imports none of them)."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports one only to run or to explain it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click calls it so
        """Names of all subcommands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands for ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when the one given does not exist."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from nornir_torque_vm.fields import nearest

            raise click.UsageError(f"there is no command {args[0]!r}{nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="torque-vm")
@click.option("--traceback", is_flag=True, help="Show where in the code an error arose.")
@click.pass_context
def torque_vm(ctx: click.Context, traceback: bool) -> None:
    """Run batch jobs of a TORQUE cluster inside fresh virtual machines."""
    ctx.obj = {"traceback": traceback}


def leave(code: int) -> NoReturn:
    """End the process now: threads that hang in a library call must not keep it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code; every error is one line on stderr."""
    wants_traceback = "--traceback" in (arguments if arguments is not None else sys.argv[1:])
    try:
        code: Any = torque_vm.main(arguments, prog_name="torque-vm", standalone_mode=False)
    except click.exceptions.Exit as exc:
        code = exc.exit_code
    except click.ClickException as exc:
        exc.show()
        code = exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("torque-vm: interrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 128 + signal.SIGPIPE
    except TorqueVMError as exc:
        if wants_traceback:
            raise
        print(f"torque-vm: {exc}", file=sys.stderr)
        from nornir_torque_vm.exitcodes import cli_exit

        code = cli_exit(exc)
    leave(code if isinstance(code, int) else 0)
