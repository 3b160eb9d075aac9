"""``-vm`` of the commands that start guests themselves: read and checked as a submission does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.helptext import keys_help
from nornir_torque_vm.wrapper.inputs import read_user_files, working_directory
from nornir_torque_vm.wrapper.poolimages import look_at_image
from nornir_torque_vm.wrapper.resolve import Resolved, gather, resolve

if TYPE_CHECKING:
    from nornir_torque_vm.wrapper.resolve import Values

F = TypeVar("F", bound=Callable[..., Any])


def request_option(command: F) -> F:
    """Give a command the option ``-vm``; the texts come as ``requests``."""
    names = ", ".join(key.name for key in KEYS)
    return click.option(
        "-vm",
        "requests",
        multiple=True,
        metavar="KEY=VALUE[,…]",
        callback=_explained,
        shell_complete=offers.request,
        help=f"What the guests shall be: {names}. '-vm help' explains them.",
    )(command)


def _explained(
    context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """Explain the keys, and end, if one of the texts asks for that."""
    if any(text.strip().lower() == "help" for text in texts):
        click.echo(keys_help(), nl=False)
        context.exit()
    return texts


def read_request(texts: Iterable[tuple[str, str]]) -> Values:
    """Return what is asked for, the user's files read.

    :param texts: of each ``-vm`` where it stands, and its value.
    :raises RequestError: an unknown key, a bad value, or a file that cannot be used.
    """
    return read_user_files(gather(texts), working_directory())


def settled(asked: Values, settings: Settings) -> Resolved:
    """Return what the guests will be by the site's settings; say what has no effect.

    :raises RequestError, ImageError: the site does not allow it, or it cannot be.
    """
    resolved = resolve(asked, settings, look_at_image(asked, settings))
    for warning in resolved.warnings:
        say(warning)
    return resolved
