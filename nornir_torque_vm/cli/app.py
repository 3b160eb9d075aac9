"""The command tree: each subcommand's module is imported only when it is asked for."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from nornir_torque_vm import __version__
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.hooks.stdio import say, settle_stdio

COMMANDS = {
    "address": ("nornir_torque_vm.cli.guests", "Find out the addresses of running guests."),
    "boot": ("nornir_torque_vm.cli.guests", "Start guests on nodes, outside any batch job."),
    "config": ("nornir_torque_vm.cli.config", "Show and check the settings, or make them from older ones."),
    "console": (
        "nornir_torque_vm.cli.log",
        "Watch a guest's console; as root, type there too.",
    ),
    "demo": (
        "nornir_torque_vm.cli.demo",
        "Show it all: a job in four guests of a lab, and its timeline.",
    ),
    "destroy": ("nornir_torque_vm.cli.guests", "Remove the guests of a job and their files."),
    "doctor": (
        "nornir_torque_vm.cli.doctor",
        "Look whether hosts are fit for jobs in guests; every line says what to do.",
    ),
    "guests": ("nornir_torque_vm.cli.guests", "List the guests that exist on nodes."),
    "health": ("nornir_torque_vm.cli.guests", "Check that running guests answer as they should."),
    "image": (
        "nornir_torque_vm.cli.image",
        "Look after the pool of images that jobs boot; build images for labs and tests.",
    ),
    "install": (
        "nornir_torque_vm.cli.install",
        "Put the site kit in place on this host, by role, and take it away again.",
    ),
    "job": ("nornir_torque_vm.cli.jobs", "Show all that is kept of one job."),
    "jobs": ("nornir_torque_vm.cli.jobs", "List what became of the jobs of this node."),
    "lab": ("nornir_torque_vm.cli.lab", "Bring a cluster in a box up and down, look at it, enter it."),
    "metrics": (
        "nornir_torque_vm.cli.metrics",
        "Write what this node's guests use into a file for Prometheus.",
    ),
    "log": ("nornir_torque_vm.cli.log", "Show what a guest of a job printed on its console; -f: and prints."),
    "nodes": (
        "nornir_torque_vm.cli.nodes",
        "List the nodes on which jobs failed by the site's fault; put them back.",
    ),
    "reap": ("nornir_torque_vm.cli.reap", "Remove from this node what jobs left here that are over."),
    "run": ("nornir_torque_vm.cli.run", "Run a job script in guests, without a TORQUE at hand."),
    "selftest": (
        "nornir_torque_vm.cli.selftest",
        "Run a job in a guest on each node, or a command in one; remove it.",
    ),
    "ssh": ("nornir_torque_vm.cli.enter", "Enter a guest of a job of yours, or run a command in it."),
}
"""Subcommand → module that defines it, and its short help (so that --help imports none of them)."""
COMPLETE = "_TORQUE_VM_COMPLETE"
"""The variable of the environment by which a shell asks what can follow on a line; click's name for it."""
JOB_COMMANDS = {"demo", "run", "ssh"}
"""Subcommands whose exit code is a job's."""


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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the subcommands without importing them, and the options."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        offers = [CompletionItem(name, help=COMMANDS[name][1]) for name in names]
        return offers + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands for ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when the one given does not exist."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from nornir_torque_vm.config.fields import nearest

            raise click.UsageError(f"there is no command {args[0]!r}: {nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="torque-vm")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where in the code an error arose.")
def torque_vm() -> None:
    """Run batch jobs of a TORQUE cluster inside fresh virtual machines."""


def leave(code: int) -> NoReturn:
    """End the process now: threads that hang in a library call must not keep it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; every error is one line on stderr."""
    settle_stdio()
    if COMPLETE in os.environ:
        from nornir_torque_vm.cli.completing import prepare

        prepare()
    leave(outcome(sys.argv[1:] if arguments is None else arguments))


def outcome(words: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    try:
        code: Any = torque_vm.main(list(words), prog_name="torque-vm", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return complain("interrupted", 128 + signal.SIGINT)
    except (BrokenPipeError, SystemExit) as exc:  # click makes a SystemExit of a broken pipe
        if isinstance(exc, SystemExit) and not exc.code:
            return 0  # click has answered a shell that completes a line
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    except Exception as exc:  # noqa: BLE001 - people get a sentence, whatever it is
        if "--traceback" in words:
            traceback.print_exc()
        return complain(sentence_of(exc), exit_code(exc, words))
    return code if isinstance(code, int) else 0


def complain(sentence: str, code: int) -> int:
    """Print one line on stderr; return the exit code."""
    say(sentence)
    return code


def sentence_of(error: Exception) -> str:
    """One line for people."""
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = f"; see {context.command_path} --help" if context else ""
        return " ".join(error.format_message().split()).rstrip(".") + where
    from nornir_torque_vm.hooks.frame import sentence_of as plain

    return plain(error) if isinstance(error, TorqueVMError) else f"{plain(error)}; see it with --traceback"


def exit_code(error: Exception, words: Sequence[str]) -> int:
    """Exit code of an error; commands that run a job leave the codes below 120 to the job."""
    from nornir_torque_vm.exitcodes import CliExit, RunExit, cli_exit, run_exit

    job = next((word for word in words if not word.startswith("-")), "") in JOB_COMMANDS
    if isinstance(error, click.ClickException):
        return RunExit.REFUSED if job else CliExit.USAGE
    return int(run_exit(error) if job else cli_exit(error))
