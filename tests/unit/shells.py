"""Real shells that are asked what they would complete, each in its own way."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pytest

PROMPT = "READY> "
SHOW = "\x18g"
"""The key (Ctrl-X g) that is bound to printing the line between :data:`MARKS` and emptying it."""
MARKS = ("\x02", "\x03")
PATIENCE = 60.0
"""Seconds a shell may take; it is done in less than one unless the machine is busy."""

BASH = r"""
PS1='READY> ' PS2=
bind 'set show-all-if-ambiguous on' 'set page-completions off' 'set completion-query-items 0'
bind 'set bell-style none' 'set enable-bracketed-paste off'
bind 'set colored-stats off' 'set completion-display-width 1'
show() { printf '\002%s\003\n' "$READLINE_LINE"; READLINE_LINE=; READLINE_POINT=0; }
bind -x '"\C-xg": show'
"""
ZSH = r"""
PS1='READY> '
unset zle_bracketed_paste
unsetopt beep list_beep auto_menu menu_complete prompt_cr prompt_sp
setopt list_ambiguous auto_list
LISTMAX=1000
zstyle ':completion:*' verbose no
show() { print -nr -- $'\002'$BUFFER$'\003'; print; BUFFER=; zle .reset-prompt; }
zle -N show
bindkey -e '^Xg' show
"""


class Shell(Protocol):
    """A shell in a directory of files, with completion of our commands."""

    def complete(self, line: str) -> tuple[str, set[str]]:
        """Return the line after one press of the Tab key, and the words that were listed as choices."""


def program(name: str) -> str:
    """The path of a shell; without it the test is skipped (in continuous integration: fails)."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


class Terminal:
    """An interactive shell on a pseudo-terminal of 200 columns and many lines."""

    def __init__(self, command: Sequence[str], directory: Path, environment: dict[str, str]) -> None:
        self._fd, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (500, 200))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=directory,
            env={**environment, "TERM": "dumb"},
        )
        os.close(terminal)
        self._waiting = ""
        self._read_until(PROMPT)

    def complete(self, line: str) -> tuple[str, set[str]]:
        """Type the line and a Tab, have the line printed, and read all that appeared."""
        os.write(self._fd, f"{line}\t{SHOW}".encode())
        seen = self._read_until(MARKS[1])
        self._read_until(PROMPT)
        listing, _, result = seen.partition(MARKS[0])
        _, _, listed = listing.replace("\r", "\n").partition("\n")
        return result, set(listed.replace(line, "").replace(PROMPT, "").split())

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def _read_until(self, end: str) -> str:
        """All that came up to ``end``; what follows it waits for the next call."""
        deadline = time.monotonic() + PATIENCE
        while end not in self._waiting:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{end!r} did not come, only {self._waiting!r}"
            self._waiting += os.read(self._fd, 65536).decode()
        seen, _, self._waiting = self._waiting.partition(end)
        return seen


class Fish:
    """Fish says without a terminal what it would offer."""

    def __init__(self, functions: Path, directory: Path, environment: dict[str, str]) -> None:
        self._fish, self._functions = program("fish"), functions
        self._directory, self._environment = directory, environment

    def complete(self, line: str) -> tuple[str, set[str]]:
        """Ask for the offers; a single one is what Tab would put in."""
        code = f"set -p fish_complete_path {self._functions}; complete -C$argv[1]"
        done = subprocess.run(
            [self._fish, "--no-config", "-c", code, line],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        assert done.stderr == ""
        offers = [offer.partition("\t")[0] for offer in done.stdout.splitlines()]
        start = re.sub(r"\S*$", "", line)
        if len(offers) == 1:
            return start + offers[0], set()
        return line, {re.sub(r"^.*[,=](?=.)", "", offer) for offer in offers}
