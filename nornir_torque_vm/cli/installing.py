"""What the install commands share: paths as options, a plan as a table."""

from __future__ import annotations

from pathlib import PurePosixPath

import click

from nornir_torque_vm.cli.show import table
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.install.model import Verb
from nornir_torque_vm.install.planning import Plan


def absolute(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Take an option's value for an absolute path; None stays."""
    if value is None:
        return None
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts:
        raise click.BadParameter(f"{value!r} is not an absolute path without '..'")
    return str(path)


def show_plan(plan: Plan) -> None:
    """The actions as a table; what was left alone, and ought to be known, on stderr."""
    done = [action for action in plan.actions if action.verb is not Verb.KEEP]
    if done:
        click.echo(table(("action", "file", ""), [(a.verb, a.path, a.detail) for a in done]))
    else:
        click.echo("nothing to do")
    for action in plan.actions:
        if action.verb is Verb.KEEP:
            say(f"{action.path} is left as it is: {action.detail}")
