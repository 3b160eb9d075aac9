"""``qsub`` and ``vsub``: the real qsub with one more option, ``-vm``.

Run by the front as ``python -X utf8 -I -m nornir_torque_vm.wrapper.qsub FRONT ETC WORDS…``: the path of
the front, the directory of the settings, and what the user typed. A call without a VM request ends in
the real qsub with the same words and the same standard input; one with a request in the real qsub with
the words :mod:`submission` makes of it, or in one line on stderr and exit code 2 (the user has to change
something) or 1 (the site has to). No file is written anywhere.
"""

from __future__ import annotations

import os
import signal
import sys

from nornir_torque_vm.errors import Blame, RequestError, SettingsError, TorqueVMError
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.wrapper import inputs, runtime
from nornir_torque_vm.wrapper.getopt import CommandLine, read_words, scan_words
from nornir_torque_vm.wrapper.submission import Call, compose, find_requests, refused_by_qsub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.wrapper.resolve import Values
    from nornir_torque_vm.wrapper.submission import Found, Submission

DRY_RUN, LIST_IMAGES, LIST_NAMES = ("--dry-run", "--explain"), "--list-images", "--list-images=names"
OWN_WORDS = {*DRY_RUN, LIST_IMAGES, LIST_NAMES}
EARLY_WORDS = {"--version", "--about"}
"""End qsub at once wherever they stand (TORQUE 6.1.3, src/cmds/qsub_functions.c: process_early_opts)."""
USER_ERROR, SITE_ERROR = 2, 1
"""Exit codes."""


class Wrapper:
    """One call. ``front`` is the path it came by; the last part is the name it was called by."""

    def __init__(self, front: str, etc: str, words: Sequence[str]) -> None:
        self.front, self.etc, self.words = front, etc, tuple(words)
        self.host = os.uname().nodename
        self.posixly_correct = "POSIXLY_CORRECT" in os.environ
        self.stdin = inputs.StandardInput(b"", used_up=False)
        self.trouble: SettingsError | RequestError | None = None
        self._settings: Settings | None = None

    def run(self) -> int:
        """Do what the words ask for; return the exit code if this process does not become the real qsub."""
        self._set_up()
        if self._is_off() or EARLY_WORDS & set(self.words):
            self._become_plain()
        command = read_words(self.words, posixly_correct=self.posixly_correct)
        own = _own_words(command)
        answer = self._answer(command, own)
        if answer is not None:
            return _show(answer)
        words = tuple(word for index, word in enumerate(self.words) if index not in own)
        found, refused = self._find(words)
        if found.texts:
            return self._submit(found, dry_run=bool(own), refused=refused)
        if not own:
            self._become_plain()
        return _show(f"no VM request: {_command_text(self._real_qsub(), words)}\n")

    def _set_up(self) -> None:
        """Open the settings. What is wrong with them concerns jobs with guests only."""
        try:
            self._settings = runtime.open_settings(self.etc)
        except SettingsError as error:
            self.trouble = error

    @property
    def settings(self) -> Settings:
        """The settings.

        :raises TorqueVMError: they cannot be used, or the environment says neither yes nor no.
        """
        if self.trouble or not self._settings:
            raise self.trouble or SettingsError("there are no settings")
        return self._settings

    def _is_off(self) -> bool:
        """Whether all calls are to be the real qsub's."""
        if self._settings and self._settings.disable_mikelangelo_hpc_stack:
            return True
        try:
            return runtime.is_disabled(os.environ)
        except RequestError as error:
            self.trouble = self.trouble or error
            return False

    def _real_qsub(self) -> str:
        return runtime.real_qsub(self.settings, self.host, self.front)

    def _become_plain(self) -> NoReturn:
        """Become the real qsub with the words and the standard input as they came."""
        if self._settings:
            path = runtime.real_qsub(self._settings, self.host, self.front)
        else:
            path = runtime.other_qsub(os.environ.get("PATH", ""), self.front)
        if not path:
            raise self.trouble or SettingsError("there is no qsub")
        if self.stdin.used_up:
            inputs.replay(self.stdin.content)
        runtime.become(path, self.words)

    def _answer(self, command: CommandLine, own: Sequence[int]) -> str | None:
        """What is to be shown for a call that only asks for something; None for any other."""
        name = os.path.basename(self.front)  # noqa: PTH119 - pathlib costs milliseconds
        if any(request.value.strip().lower() == "help" for request in command.requests):
            from nornir_torque_vm.wrapper.helptext import keys_help

            return keys_help(self._settings, command=name)
        if name == "vsub" and self.words == ("--help",):
            from nornir_torque_vm.wrapper.helptext import command_help

            return command_help(name)
        asked = {command.words[index] for index in own}
        if asked & {LIST_IMAGES, LIST_NAMES}:
            from nornir_torque_vm.wrapper.poolimages import list_images

            if set(self.words) - {LIST_IMAGES, LIST_NAMES, "-l"}:
                raise RequestError(f"{LIST_IMAGES} stands alone", hint=f"write {name} {LIST_IMAGES}")
            return list_images(self.settings, names_only=LIST_NAMES in asked)
        return None

    def _find(self, words: tuple[str, ...]) -> tuple[Found, bool]:
        """Read the script the words lead to; return what they ask for, and whether qsub will refuse it."""
        plain = read_words(words, posixly_correct=self.posixly_correct).without_requests()
        scan = scan_words(plain.words)
        name = "" if scan.script is None else plain.words[scan.script]
        call = Call(words, posixly_correct=self.posixly_correct)
        refused = False
        if name:
            script = inputs.read_script(name)
            refused = script is None
            call = Call(words, script, name, "file", self.posixly_correct)
        elif not scan.interactive:
            self.stdin = inputs.read_stdin()
            call = Call(words, self.stdin.content, "", "stdin", self.posixly_correct)
        found = find_requests(call)
        return found, refused or found.header.refused

    def _submit(self, found: Found, *, dry_run: bool, refused: bool) -> int:
        """Submit a job with guests, or show what would be submitted."""
        from nornir_torque_vm.wrapper.resolve import gather

        runtime.check_host(self.settings, self.host)
        real = self._real_qsub()
        asked = gather(found.texts)  # first: a blank in "-vm ram=1G, vcpus=2" makes vcpus=2 the script
        if refused and not dry_run:
            runtime.become(real, refused_by_qsub(found))
        if refused or found.header.fault:
            raise RequestError(found.header.fault or f"the script {found.call.script_name} cannot be read")
        submission = self._composed(found, asked)
        if not dry_run:
            self._become_marked(real, submission)
        from nornir_torque_vm.wrapper.explain import explain

        return _show(explain(found, submission, self.settings, real))

    def _composed(self, found: Found, asked: Values) -> Submission:
        """Check everything the request names; return what the real qsub gets."""
        from nornir_torque_vm.wrapper.poolimages import look_at_image
        from nornir_torque_vm.wrapper.resolve import resolve

        asked = inputs.read_user_files(asked, inputs.working_directory())
        image = look_at_image(asked, self.settings)
        return compose(found, resolve(asked, self.settings, image), self.settings)

    def _become_marked(self, real: str, submission: Submission) -> NoReturn:
        """Say what was changed, and become the real qsub for a job with guests."""
        for sentence in (submission.raised.sentence, *submission.warnings):
            if sentence:
                _tell(sentence)
        words, script = list(submission.words), submission.script
        if script is not None and submission.script_word is not None:
            words[submission.script_word] = f"/proc/self/fd/{inputs.in_memory(script)}"
        elif script is not None or self.stdin.used_up:
            inputs.replay(self.stdin.content if script is None else script)
        runtime.become(real, words)


def main() -> int:
    """Run one call; return the exit code."""
    try:
        return Wrapper(sys.argv[1], sys.argv[2], sys.argv[3:]).run()
    except TorqueVMError as error:
        _tell(str(error))
        return USER_ERROR if error.blame is Blame.USER else SITE_ERROR
    except KeyboardInterrupt:
        _die_by(signal.SIGINT)
    except BrokenPipeError:
        _die_by(signal.SIGPIPE)
    except Exception as error:  # noqa: BLE001 - one line, whatever it is
        _tell(f"unexpected {type(error).__name__}: {error}; nothing was submitted")
    return SITE_ERROR


def _own_words(command: CommandLine) -> list[int]:
    """Indexes of the words that are ours besides ``-vm``, where qsub expects an option."""
    alone = (option.first for option in command.options if option.first == option.last)
    return [index for index in alone if command.words[index] in OWN_WORDS]


def _command_text(path: str, words: Sequence[str]) -> str:
    import shlex

    return shlex.join([path, *words])


def _show(text: str) -> int:
    """Print an answer; return the exit code."""
    if sys.stdout is None:
        _tell("standard output is closed")
        return SITE_ERROR
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is left in the buffer would fail again, and be told again, at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _tell(f"standard output cannot be written: {error.strerror}")
        return SITE_ERROR
    return 0


def _tell(sentence: str) -> None:
    """Write one line to stderr, unless it is closed."""
    if sys.stderr is not None:
        say(sentence)


def _die_by(number: int) -> None:
    """End as a program does that leaves this signal to the system."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main())
