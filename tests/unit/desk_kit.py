"""A submit host as installed: the real fronts and Python, a recorder as qsub; or the same in this process."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from front_kit import executable
from qsub_kit import Outcome, Recorded, SubmitHost

from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.sitekit import front_text
from nornir_torque_vm.wrapper import qsub, runtime, submit_filter

FILE, REDIRECT, PIPE, INTERACTIVE = "file", "redirect", "pipe", "interactive"
"""How a script comes to qsub; the last one is a session, with a script only where its line says so."""
WAYS = (FILE, REDIRECT, PIPE, INTERACTIVE)


class BecameQsub(BaseException):
    """The wrapper would have become the real qsub; no handler of ours may catch it."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded


class Desk(SubmitHost):
    """A user's desk: fronts and settings are installed, ``work`` is the directory, ``home`` and ``tmp`` his.

    :meth:`run` starts the front as a shell would; :meth:`call` runs what the front hands over to, here.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **{"allow_osv": True, **settings})
        self.home, self.tmp = folder / "home", folder / "tmp"
        for directory in (self.home, self.tmp):
            directory.mkdir()
        shutil.copy(self.pool / "debian.qcow2", self.pool / "osv.qcow2")
        for name, path in (("qsub", self.front), ("submit-filter", folder / "submit-filter")):
            executable(path, front_text(name, python=sys.executable, etc=str(self.etc)))
        compile_settings(str(self.etc))

    def argv(self, *words: str | bytes, front: Path | None = None) -> list[str | bytes]:
        """The command line as a user types it."""
        return [str(front or self.front), *words]

    def submit(self, words: Sequence[str], script: bytes, way: str, *, process: bool) -> Outcome:
        """Submit in one of the :data:`WAYS`; only what standard input is differs between them here."""
        with standard_input(script, way) as fd:
            if process:
                return self.run(*words, stdin=fd, HOME=str(self.home), TMPDIR=str(self.tmp))
            with mock.patch.dict(os.environ, HOME=str(self.home), TMPDIR=str(self.tmp)):
                return self.call(words, fd)

    def call(self, words: Sequence[str], stdin: int) -> Outcome:
        """Run the wrapper in this process; ``words`` are as in ``sys.argv``."""
        recorded, code = None, 0
        with self._as_process(["qsub", str(self.front), str(self.etc), *words], stdin) as (out, err):
            try:
                with mock.patch.object(runtime, "become", _become):
                    code = qsub.main()
            except BecameQsub as became:
                recorded = became.recorded
        return Outcome(code, out.getvalue(), err.getvalue(), recorded)

    def filter(self, words: Sequence[str], script: bytes) -> tuple[int, bytes, str]:
        """Run the submit filter in this process; return exit code, the script it gives, and stderr."""
        argv = ["submit-filter", str(self.folder / "submit-filter"), str(self.etc), *words]
        with tempfile.TemporaryFile() as output, standard_input(script, REDIRECT) as fd:
            with self._as_process(argv, fd) as (_out, err), _descriptor(1, output.fileno()):
                code = submit_filter.main()
            output.seek(0)
            return code, output.read(), err.getvalue()

    @contextlib.contextmanager
    def _as_process(self, argv: list[str], stdin: int) -> Iterator[tuple[io.StringIO, io.StringIO]]:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.work),
            mock.patch.dict(os.environ, {"PWD": str(self.work)}),
            mock.patch.object(sys, "argv", argv),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _descriptor(0, stdin),
        ):
            yield out, err


def _become(path: str, words: Sequence[str]) -> NoReturn:
    """Note what the recorder would: words, standard input, and what the words lead to in memory."""
    copies = {}
    for word in words:
        if word.startswith("/proc/self/fd/"):
            copies[word] = _text(Path(word).read_bytes())
            os.close(int(word.rpartition("/")[2]))
    offset = None
    with contextlib.suppress(OSError):  # a pipe has none
        offset = os.lseek(0, 0, os.SEEK_CUR)
    stdin = "a terminal"
    if not os.isatty(0):
        with open(0, "rb", closefd=False) as file:
            stdin = _text(file.read())
    argv = [_text(os.fsencode(word)) for word in (path, *words)]
    raise BecameQsub(Recorded(argv, offset, stdin, copies, [], 0, os.getpid()))


def _text(content: bytes) -> str:
    return content.decode("latin-1")


@contextlib.contextmanager
def _descriptor(number: int, fd: int) -> Iterator[None]:
    """Let ``fd`` be the descriptor ``number`` for a while."""
    saved = os.dup(number)
    try:
        os.dup2(fd, number)
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


@contextlib.contextmanager
def standard_input(script: bytes, way: str) -> Iterator[int]:
    """Give a descriptor to read a script from: a file, a pipe, or a terminal that has none."""
    with contextlib.ExitStack() as closing:
        if way == PIPE:
            reader, writer = os.pipe()
            feeder = threading.Thread(target=_feed, args=(writer, script))
            feeder.start()
            closing.callback(feeder.join)
        elif way == INTERACTIVE:
            leader, reader = pty.openpty()
            closing.callback(os.close, leader)
        else:
            reader = os.memfd_create("stdin")
            os.pwrite(reader, script if way == REDIRECT else b"", 0)
        closing.callback(os.close, reader)
        yield reader


def _feed(writer: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(writer, "wb") as file:
        file.write(content)
