"""From a ``qsub`` call with ``-vm`` to the call the real qsub gets. Pure.

The user's words stay byte for byte, without the ``-vm`` pairs; ours come behind the last option, where
they win over the same options before them and in the script. The submit filter, which has a header
and no words of its own, uses :func:`mark_job`.
"""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.sizes import format_size, power_of_two
from nornir_torque_vm.wrapper.directives import Header, neutralise, read_header
from nornir_torque_vm.wrapper.getopt import CommandLine, Option, read_words, scan_words
from nornir_torque_vm.wrapper.resolve import COMMAND_LINE, Resolved, located, script_line
from nornir_torque_vm.wrapper.resourcelist import check_fits, read_resources
from nornir_torque_vm.wrapper.resources import Need, Raised, raise_resources, refuse_task_requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.request import Request

JOB_TYPE = ("-T", "vm")
"""Makes nodes run ``prologue.vm`` and ``epilogue.vm``."""
PREFIX = "#PBS"
"""What directives begin with unless ``-C`` says otherwise."""

_NO_PREFIX = "#NO-DIRECTIVES"
_MEMORY = ("mem", "pmem", "vmem", "pvmem")


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """How qsub was called: its words without the program's name, and the script they lead to.

    ``source`` is ``file``, ``stdin``, or ``none`` for an interactive job without a script and where
    there is nothing to read. ``script_name`` is the word that names the file.
    """

    words: tuple[str, ...]
    script: bytes | None = None
    script_name: str = ""
    source: str = "none"
    posixly_correct: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A call, read. ``plain`` is the command line without its requests."""

    call: Call
    command: CommandLine
    plain: CommandLine
    header: Header

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The values of all ``-vm``, each with its origin, in the order in which they count."""
        inline = [(script_line(line), text) for line, text in self.header.requests]
        return inline + [(COMMAND_LINE, request.value) for request in self.command.requests]


@dataclasses.dataclass(frozen=True, slots=True)
class Submission:
    """What the real qsub gets.

    ``script`` is the copy it reads, None for the user's own file or standard input. ``script_word`` is
    the index in ``words`` of the script's name, which the copy's name replaces; None if it is stdin.
    """

    words: tuple[str, ...]
    script: bytes | None
    script_word: int | None
    request: Request
    resolved: Resolved
    raised: Raised
    warnings: tuple[str, ...]


def find_requests(call: Call) -> Found:
    """Return what the call asks for.

    :raises RequestError: a ``-vm`` without a value, and the line it stands in.
    """
    command = read_words(call.words, posixly_correct=call.posixly_correct)
    plain = command.without_requests()
    prefix = scan_words(plain.words).prefix
    header = read_header(
        call.script or b"",
        PREFIX if prefix is None else prefix,
        from_stdin=call.source == "stdin",
        posixly_correct=call.posixly_correct,
    )
    return Found(call, command, plain, header)


def mark_job(
    plain: CommandLine, header: Header, resolved: Resolved, settings: Settings
) -> tuple[tuple[str, ...], Raised]:
    """Return the options that make a job one with guests, and what of its resources they raise.

    :param plain: the command line without requests; empty where there is none.
    :raises RequestError: it has options that exclude guests, or asks for more than TORQUE carries.
    """
    _refuse_job_type(plain, header)
    refuse_task_requests([*_values(header.options, "L"), *plain.values("L")])
    given = read_resources([*_values(header.options, "l"), *plain.values("l")])
    if given is None:  # then the job is refused; should a qsub ever take it, it is marked
        return _options({"other": resolved.request.encode()}), Raised({}, "", 0)
    _refuse_other(plain, header)
    raised = raise_resources(
        given,
        need_of(resolved, settings, memory=settings.request_mem or any(name in given for name in _MEMORY)),
        node_property=settings.node_property,
        request_mem=settings.request_mem,
        exclusive=settings.pbs_exclusive_node_alloc,
    )
    asked = {"other": resolved.request.encode(), **raised.additions}
    check_fits({**given, **asked})
    return _options(asked), raised


def need_of(resolved: Resolved, settings: Settings, *, memory: bool = True) -> Need:
    """Return what each node has to give to the guests and to its own system.

    :param memory: whether the reason mentions memory.
    """
    guests, vcpus, ram = (resolved[key] for key in ("vms_per_node", "vcpus", "ram"))
    iocm = resolved["iocm_max_cores"] if resolved["iocm"] else 0
    shared = power_of_two(resolved["unclot_shmem"]) if resolved["unclot"] else 0
    system, system_ram = settings.host_os_core_count, settings.host_os_ram_mb << 20
    reasons = [f"{_count(guests, 'guest')} of {_count(vcpus, 'processor')}"]
    reasons += [f"{format_size(ram)} of memory"] if memory else []
    reasons += [f"{format_size(shared)} of shared memory"] if memory and shared else []
    reasons += [f"{iocm} for input and output"] if iocm else []
    reasons += [f"{system} for the node itself"] if system else []
    why = f"{', '.join(reasons)} on each node"
    return Need(guests * vcpus + iocm + system, guests * ram + shared + system_ram, why)


def compose(found: Found, resolved: Resolved, settings: Settings) -> Submission:
    """Return what the real qsub gets for a job with guests.

    :raises RequestError: as :func:`mark_job`, or words that qsub would take for something else with
        ours among them.
    """
    ours, raised = mark_job(found.plain, found.header, resolved, settings)
    plain, script, script_word = found.plain, None, None
    if not found.header.has_request:
        words = _insert(plain, ours)
    elif found.call.source == "stdin":
        words, script = _insert(plain, ours), neutralise(found.call.script or b"", found.header)
    elif _runs_where_it_is(found):
        plain = read_words((*_lifted(found.header), *plain.words), posixly_correct=plain.posixly_correct)
        words = _without_directives(_insert(plain, ours), found.call.script or b"")
    else:
        if not (plain.has("N") or _values(found.header.options, "N")):
            ours = (*ours, "-N", found.call.script_name.rpartition("/")[2])
        words, script = _insert(plain, ours), neutralise(found.call.script or b"", found.header)
        script_word = scan_words(words).script
    _check_unchanged(plain, words, script_word)
    return Submission(words, script, script_word, resolved.request, resolved, raised, resolved.warnings)


def refused_by_qsub(found: Found) -> tuple[str, ...]:
    """Return the words for a script that qsub itself will refuse; marked, should it ever not do so."""
    return _insert(found.plain, JOB_TYPE)


def _options(resources: dict[str, str]) -> tuple[str, ...]:
    return (*JOB_TYPE, "-l", ",".join(f"{name}={value}" for name, value in resources.items()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _values(options: Iterable[Option], letter: str) -> list[str]:
    return [option.value for option in options if option.letter == letter and option.value is not None]


def _refuse_job_type(plain: CommandLine, header: Header) -> None:
    """Refuse the user's own ``-T``: a job has one type, and guests need theirs."""
    for origin, line in _places(plain, header):
        for value in line.values("T"):
            error = RequestError(
                f"-T {value} cannot be combined with -vm, whose jobs are of type vm", hint="leave -T away"
            )
            raise located(error, origin)


def _refuse_other(plain: CommandLine, header: Header) -> None:
    """Refuse the user's own ``-l other=``: a job has one, and the request needs it."""
    for origin, line in _places(plain, header):
        if "other" in (read_resources(line.values("l")) or {}):
            error = RequestError(
                "-l other= cannot be combined with -vm, whose request rides in it", hint="leave other= away"
            )
            raise located(error, origin)


def _places(plain: CommandLine, header: Header) -> list[tuple[str, CommandLine]]:
    """Where options stand, each with its origin."""
    return [*((script_line(one.line), one.command) for one in header.directives), (COMMAND_LINE, plain)]


def _insert(plain: CommandLine, ours: Sequence[str]) -> tuple[str, ...]:
    """The command line's words with more options behind its last one."""
    return (*plain.words[: plain.end], *ours, *plain.words[plain.end :])


def _runs_where_it_is(found: Found) -> bool:
    """Whether the script's path goes into the job (``-I -x script``), so that a copy cannot stand for it."""
    return found.plain.has("x") or any(option.letter == "x" for option in found.header.options)


def _lifted(header: Header) -> list[str]:
    """The options of a script's directives as words of a command line.

    :raises RequestError: qsub would refuse a directive.
    """
    for one in header.directives:
        if one.command.fault:
            raise RequestError(f"{script_line(one.line)}: {one.command.fault}")
    words = []
    for option in header.options:
        if option.letter == "-":
            words.append(f"--{option.value}")  # qsub refuses it, as it would in the script
        elif option.letter != "C":  # which has no effect in a directive
            words += [f"-{option.letter}"] if option.value is None else [f"-{option.letter}", option.value]
    return words


def _without_directives(words: tuple[str, ...], script: bytes) -> tuple[str, ...]:
    """Turn the script's directives off: before its name, a prefix that does not occur in it.

    Not the empty one: qsub hands this word to a submit filter without quotes.
    """
    at, number, prefix = scan_words(words).script or 0, 0, _NO_PREFIX
    while prefix.encode() in script:
        number += 1
        prefix = f"{_NO_PREFIX}-{number}"
    return (*words[:at], "-C", prefix, *words[at:])


def _check_unchanged(plain: CommandLine, words: tuple[str, ...], script_word: int | None) -> None:
    """Make sure that all words mean to qsub what they meant before ours came among them.

    qsub looks for the script by a scan of its own, which sees other things than getopt in words such
    as ``-zl nodes=2``: a script ``nodes=2`` there.

    :param script_word: index of the word that the copy's name is going to replace.
    :raises RequestError: they would not.
    """
    after = read_words(words, posixly_correct=plain.posixly_correct)
    kept = _in_order(_pairs(plain), _pairs(after)) and not after.requests
    replaced = script_word is None or script_word in after.operands
    if not (kept and replaced and _meaning(plain) == _meaning(after)):
        raise RequestError(
            "qsub reads this command line in two ways, so guests cannot be added to it",
            hint="write each option as a word of its own, before the script",
        )


def _meaning(command: CommandLine) -> tuple[object, ...]:
    """What has to stay besides the options: operands, script, directive prefix, and what is wrong."""
    words, scan = command.words, scan_words(command.words)
    script = None if scan.script is None else words[scan.script]
    return [words[index] for index in command.operands], script, command.fault


def _pairs(command: CommandLine) -> list[tuple[str, str | None]]:
    return [(option.letter, option.value) for option in command.options]


def _in_order(some: Iterable[object], among: Iterable[object]) -> bool:
    """Whether all of ``some`` occur among others, in their order."""
    others = iter(among)
    return all(one in others for one in some)
