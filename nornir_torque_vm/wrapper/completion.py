"""Completion of ``qsub`` and ``vsub`` in bash, zsh and fish, from the table of keys.

``python -m nornir_torque_vm.wrapper.completion wrapper/completions`` renews the files of the site kit.
What a shell does with them stands in ``completions/<shell>.in``; only the tables are put in here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from nornir_torque_vm.config.fields import Field
from nornir_torque_vm.config.filekinds import ImageRef, Pinning, UserFile, UserPath
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.options import DIRECTORY, FILE, NAMES, OWN_OPTIONS, QSUB_OPTIONS, QsubOption

TEMPLATES = Path(__file__).parent / "completions"

LONG = tuple((name, text) for name, text in OWN_OPTIONS if "=" not in name)
"""Our long options but the form of one that only programs use."""


def completions() -> dict[str, str]:
    """Return the files by their path below ``completions``: one directory for each shell."""
    return {
        "bash/vsub": bash(),
        "bash/qsub": '# Completion of qsub for bash: that of vsub.\n. "${BASH_SOURCE[0]%/*}/vsub"\n',
        "zsh/_vsub": zsh(),
        "fish/vsub.fish": fish(),
        "fish/qsub.fish": "# Completion of qsub for fish: that of vsub.\ncomplete -c qsub -w vsub\n",
    }


def bash() -> str:
    """Return the function for bash, which registers itself for both commands."""
    offers = {
        FILE: '_torque_vm_files "$value"',
        "images": '_torque_vm_images "$value"',
    }
    cases = []
    for key in KEYS:
        calls = [f'_torque_vm_words "${{value,,}}" {" ".join(key.kind.choices)}'] if key.kind.choices else []
        calls += [offers[offer] for offer in _offers(key)]
        if calls:
            cases.append(f"            {key.name}) {'; '.join(calls)} ;;")
    return _filled(
        "bash",
        KEYS=" ".join(key.name for key in KEYS),
        VALUES="\n".join(cases),
        LETTERS=" ".join(f"-{option.letter}" for option in QSUB_OPTIONS),
        OPTIONS=" ".join(("-vm", *(name for name, _ in LONG))),
        QSUB_VALUES="\n".join(_bash_value(option) for option in QSUB_OPTIONS if _can_list(option)),
        NOTHING="".join(o.letter for o in QSUB_OPTIONS if o.value and not o.choices and not o.offers),
    )


def _can_list(option: QsubOption) -> bool:
    """Whether bash is to be told what the values are; by itself it completes files."""
    return bool(option.choices) or option.offers == DIRECTORY


def _bash_value(option: QsubOption) -> str:
    call = f'words "$2" {" ".join(option.choices)}' if option.choices else 'files "$2" -d'
    return f"        -{option.letter}) _torque_vm_{call} ;;"


def zsh() -> str:
    """Return the function for zsh, to be found in its ``fpath``."""
    actions = {FILE: "_torque_vm_files", "images": "_torque_vm_images"}
    values = []
    for key in KEYS:
        offers = [actions[offer] for offer in _offers(key)]
        action = f"({' '.join(key.kind.choices)})" if key.kind.choices else "".join(offers)
        if key.kind.choices and offers:
            action = "_torque_vm_pinning"
        values.append(f"    {_quoted(f'{key.name}[{_bare(key.help)}]:{_bare(key.kind.words)}:{action}')}")
    return _filled(
        "zsh",
        VALUES=" \\\n".join(values),
        OPTIONS="\n".join(
            f"    {_quoted(spec)} \\"
            for spec in (
                *(_zsh_option(option) for option in QSUB_OPTIONS),
                *(f"{name}[{_bare(text)}]" for name, text in LONG),
            )
        ),
    )


def _zsh_option(option: QsubOption) -> str:
    spec = f"*-{option.letter}{'+' if option.value else ''}[{_bare(option.help)}]"
    if not option.value:
        return spec
    actions = {FILE: "_files", DIRECTORY: "_files -/", "": " "}
    action = f"({' '.join(option.choices)})" if option.choices else actions[option.offers]
    return f"{spec}:{option.value}:{action}"


def _bare(text: str) -> str:
    """``text`` inside a specification of zsh's ``_arguments`` and ``_values``."""
    return "".join(f"\\{char}" if char in "[]:\\" else char for char in text)


def fish() -> str:
    """Return the functions for fish, for ``vsub``; ``qsub`` is declared to be alike."""
    values = []
    for key in KEYS:
        sources = {FILE: '(__torque_vm_files "$value")', "images": '(__torque_vm_images "$value")'}
        found = [*key.kind.choices, *(sources[offer] for offer in _offers(key))]
        if found:
            values += [f"        case {key.name}", f"            set found {' '.join(found)}"]
    options = [
        *(_fish_option(option) for option in QSUB_OPTIONS),
        *(f"complete -c vsub -l {name.lstrip('-')} -d {_fish(text)}" for name, text in LONG),
        f"complete -c vsub -l help -d {_fish('explain the options')}",
    ]
    return _filled(
        "fish",
        VALUES="\n".join(values),
        KEYS="\n".join(f"    printf '%s\\t%s\\n' {key.name} {_fish(key.help)}" for key in KEYS),
        OPTIONS="\n".join(options),
    )


def _fish_option(option: QsubOption) -> str:
    line = f"complete -c vsub -s {option.letter} -d {_fish(option.help)}"
    if not option.value:
        return line
    if option.offers == FILE:
        return f"{line} -r -F"
    offered = "(__fish_complete_directories)" if option.offers == DIRECTORY else " ".join(option.choices)
    return f"{line} -x -a {_fish(offered)}" if offered else f"{line} -x"


def _fish(text: str) -> str:
    """``text`` as one word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted(text: str) -> str:
    """``text`` as one word of a POSIX shell, always in quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def _offers(key: Field) -> Iterable[str]:
    """What can be looked up for a key's value, beyond its choices."""
    if isinstance(key.kind, ImageRef):
        return ("images",)
    return (FILE,) if isinstance(key.kind, UserFile | UserPath | Pinning) else ()


def _filled(shell: str, **tables: str) -> str:
    """Return the template of ``shell`` with its tables."""
    text = (TEMPLATES / f"{shell}.in").read_text(encoding="utf-8")
    for name, value in {**tables, "NAMES": NAMES}.items():
        text = text.replace(f"@{name}@", value)
    return text


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Write ``files`` below ``directory``, making what it needs."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), completions())
