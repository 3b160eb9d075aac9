"""TORQUE's submit filter: what makes plain ``qsub`` understand ``#PBS -vm`` in a script.

Run by the front as ``python -I -m nornir_torque_vm.wrapper.submit_filter FRONT ETC WORDS…``: the path of
the front, the directory of the settings, and qsub's words. The script comes on standard input; what
goes to standard output is what qsub reads and submits instead. The exit code is 0, or 1 after one line
on stderr; qsub then submits nothing.

TORQUE 6.1.3, src/cmds/qsub_functions.c: ``get_script`` calls the filter for every script, and
``process_opts`` once more for ``-I``, with two empty lines for a script.
"""

from __future__ import annotations

import os
import sys

from nornir_torque_vm.errors import RequestError, SettingsError, TorqueVMError
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.wrapper import runtime
from nornir_torque_vm.wrapper.directives import Header, add_options, neutralise, read_header
from nornir_torque_vm.wrapper.getopt import REQUEST, CommandLine, read_words, scan_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_torque_vm.config.settings import Settings

PREFIX = "#PBS"
"""What directives begin with unless ``-C`` says otherwise."""
REFUSED = 1
"""Exit code; qsub adds a line of its own."""
FRONT_MARK = b"nornir_torque_vm.wrapper.submit_filter"
"""Occurs in every copy of the front."""

_FROM_QSUB = 3
"""Processes between this one and qsub, with it: a shell that qsub starts, and the front."""


def main() -> int:
    """Filter one script; return the exit code."""
    front, etc, *words = sys.argv[1:]
    try:
        script = _read_all(0)  # before anything may fail: SIGPIPE would end qsub
        settings = _open_settings(etc)
        code, script = _site_filtered(script, front, etc, words, settings)
        if code == 0:
            _write_all(1, _filtered(script, words, settings))
    except TorqueVMError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"the submit filter: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - one line, whatever it is
        return _refuse(f"unexpected {type(error).__name__} in the submit filter: {error}")
    return code


def _refuse(sentence: str) -> int:
    _tell(sentence)
    return REFUSED


def _tell(sentence: str) -> None:
    """Write one line to stderr; where that is closed, Python would print into the script instead."""
    if sys.stderr is not None:
        say(sentence)


def _open_settings(etc: str) -> Settings | SettingsError:
    """The settings, or what is wrong with them: that concerns jobs with guests only."""
    try:
        return runtime.open_settings(etc)
    except SettingsError as error:
        return error


def _site_filtered(
    script: bytes, front: str, etc: str, words: Sequence[str], settings: Settings | SettingsError
) -> tuple[int, bytes]:
    """Return the exit code of the site's own filter and what it makes of the script.

    It gets what TORQUE would have given it; its sentences go to the user as they are.

    :raises SettingsError: it cannot be run.
    """
    if isinstance(settings, SettingsError):
        path = _last_known(etc, "site_submit_filter")
    else:
        path = settings.site_submit_filter
    if not path:
        return 0, script
    if runtime.is_front(path, front, FRONT_MARK):
        raise SettingsError(
            f"site_submit_filter ({path}) is this submit filter itself", hint="leave the setting away"
        )
    from nornir_torque_vm.wrapper.sitefilter import run_filter

    return run_filter(path, words, script)


def _last_known(etc: str, name: str) -> str:
    """The value of a setting when the settings were compiled last; "" if it was not stated then.

    A mistake in the settings must not switch the site's own filter off.
    """
    import json

    try:
        with open(f"{etc}/compiled/settings.json", "rb") as file:  # noqa: PTH123 - pathlib is slow
            return str(json.load(file)["values"].get(name, ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _filtered(script: bytes, words: Sequence[str], settings: Settings | SettingsError) -> bytes:
    """Return what qsub is to take for ``script``: the very same bytes where it asks for no guests."""
    command = read_qsub(qsub_words(words))
    prefix = scan_words(command.words).prefix
    header = read_header(
        script,
        PREFIX if prefix is None else prefix,
        from_stdin=True,  # qsub has looked at the bytes already
        posixly_correct=command.posixly_correct,
    )
    if not header.has_request or runtime.is_disabled(os.environ):
        return script
    if isinstance(settings, SettingsError):
        raise settings
    return script if settings.disable_mikelangelo_hpc_stack else _marked(script, header, command, settings)


def read_qsub(words: Sequence[str]) -> CommandLine:
    """Return what the words mean to qsub itself, for which ``-vm`` is ``-v m``."""
    opaque = frozenset(index for index, word in enumerate(words) if word == REQUEST)
    return read_words(words, posixly_correct="POSIXLY_CORRECT" in os.environ, opaque=opaque)


def _marked(script: bytes, header: Header, command: CommandLine, settings: Settings) -> bytes:
    """Return the script with the options of a job with guests in place of its ``-vm``.

    :raises RequestError: a request or a command line that cannot be.
    """
    from nornir_torque_vm.wrapper.inputs import read_user_files, working_directory
    from nornir_torque_vm.wrapper.poolimages import look_at_image
    from nornir_torque_vm.wrapper.resolve import gather, resolve, script_line
    from nornir_torque_vm.wrapper.submission import mark_job

    if carries_request(command):
        _tell("-vm in the script does not count: the command line has a whole request already")
        return neutralise(script, header)
    runtime.check_host(settings, os.uname().nodename)
    if header.fault:
        raise RequestError(header.fault)
    asked = gather((script_line(line), text) for line, text in header.requests)
    asked = read_user_files(asked, working_directory())
    resolved = resolve(asked, settings, look_at_image(asked, settings))
    options, raised = mark_job(command, header, resolved, settings)
    check_command_line(command, raised.additions)
    for sentence in filter(None, (raised.sentence, *resolved.warnings)):
        _tell(sentence)
    return add_options(script, header, options)


def carries_request(command: CommandLine) -> bool:
    """Whether the words are of a job with guests already: the wrapper's."""
    from nornir_torque_vm.request import VERSION
    from nornir_torque_vm.wrapper.resourcelist import read_resources

    resources = read_resources(command.values("l")) or {}
    return "vm" in command.values("T") and resources.get("other", "").startswith(f"{VERSION}:")


def check_command_line(command: CommandLine, additions: Mapping[str, str]) -> None:
    """Refuse a command line that asks for less than the guests need: it beats what a filter writes.

    :param additions: resources that have to be asked for.
    :raises RequestError: the command line has other values for some of them.
    """
    from nornir_torque_vm.wrapper.resourcelist import read_resources

    given = read_resources(command.values("l")) or {}
    small = [name for name in additions if name in given]
    if small:
        before, after = (
            ",".join(f"{name}={values[name]}" for name in small) for values in (given, additions)
        )
        raise RequestError(
            f"the command line asks for {before}, which does not do for the guests the script asks for",
            hint=f"write -l {after}, or let the wrapper do it: module load torque-vm",
        )


def qsub_words(words: Sequence[str]) -> list[str]:
    """Return the words qsub was called with: from the process itself, where it can be found.

    TORQUE puts them between quotes for a shell without a look at what is in them, and ``-C`` behind a
    backslash, so those that arrive here may be other ones.
    """
    pid = os.getppid()
    for _ in range(_FROM_QSUB):
        try:
            if os.readlink(f"/proc/{pid}/exe").rpartition("/")[2] == "qsub":  # noqa: PTH115 - pathlib is slow
                with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - same
                    return [os.fsdecode(word) for word in file.read().split(b"\0")[1:-1]]
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - same
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return list(words)


def _read_all(fd: int) -> bytes:
    chunks = []
    while chunk := os.read(fd, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def _write_all(fd: int, content: bytes) -> None:
    """All of it, or an error: a script that is cut off must not be submitted."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


if __name__ == "__main__":
    sys.exit(main())
