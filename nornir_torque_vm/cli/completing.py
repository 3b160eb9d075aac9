"""What shells are told when a command line of ``torque-vm`` is completed.

Click finds out what can follow. The shells' functions are ours, in ``wrapper/completions``: click's know
no colons in bash, no ``--option=value`` in zsh and no commas in fish's descriptions. All three speak one
language: the line up to the cursor in ``COMP_LINE``, and for each offer a line of kind, word and description
with tabs between.
"""

from __future__ import annotations

import os
import signal

from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from nornir_torque_vm.errors import one_line
from nornir_torque_vm.sitekit import kit_file

FUNCTIONS = {"bash": "torque-vm", "zsh": "_torque-vm", "fish": "torque-vm.fish"}
"""Shell → the file with its function, in a directory of the shell's name below ``wrapper/completions``."""
SECONDS = 5
"""A shell waits no longer: a file server may hang."""


class Completion(ShellComplete):
    """Completion for any of the shells."""

    def source(self) -> str:
        """Return the shell's function.

        :raises SettingsError: this installation lacks it.
        """
        path = kit_file("wrapper", "completions", self.name, FUNCTIONS[self.name])
        return path.read_text(encoding="utf-8")

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one at the cursor, without the command, and what is there of that."""
        # The mark makes a word of what follows the last blank, even of nothing, inside quotes or out.
        *words, last = split_arg_string(f"{os.environ.get('COMP_LINE', '')}|")
        return words[1:], last[:-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Return a line; a description can have several, or what a terminal would act on."""
        return f"{item.type}\t{item.value}\t{one_line(item.help or '')}"


def prepare() -> None:
    """Have click use our functions, and the system end this process when it is late: no handler could."""
    signal.alarm(SECONDS)
    for shell in FUNCTIONS:
        add_completion_class(type(shell.title(), (Completion,), {"name": shell}))
