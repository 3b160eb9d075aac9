"""What can stand on a command line of ``torque-vm``, for the shell's completion: names that this host knows.

Looked up in files here: neither a server nor libvirt is asked. What cannot be read is not offered.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.filekinds import ImageRef
from nornir_torque_vm.config.settings import SETTINGS, Settings
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.identity import is_job_id, job_slug
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.nodefile import valid_host

PART = "part"
"""Kind of what is only the beginning of a word; the other kinds are click's."""
Word = tuple[str, str]
"""What is offered, and its description; empty where there is none."""
Offers = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""What click's ``shell_complete`` takes: from what is given so far to what can follow."""


def files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Any file; the shell knows which there are."""
    return [CompletionItem(begun, type="file")]


def directories(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Any directory; the shell knows which there are."""
    return [CompletionItem(begun, type="dir")]


def offered(words: Callable[[click.Context, str], Iterable[Word]]) -> Offers:
    """Make click's offers of the words for a context and what is begun, without what was given already."""

    def offers(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        before = context.params.get(parameter.name or "")
        given = before if isinstance(before, tuple) else ()
        with contextlib.suppress(TorqueVMError, OSError):
            return [
                CompletionItem(word, help=about or None)
                for word, about in words(context, begun)
                if word.startswith(begun) and word not in given
            ]
        return []

    return offers


@offered
def settings(_context: click.Context, _begun: str) -> Iterator[Word]:
    """Names of settings."""
    return ((field.name, field.help) for field in SETTINGS)


@offered
def images(context: click.Context, _begun: str) -> Iterator[Word]:
    """Images of the pool."""
    return images_of(settings_of(context))


@offered
def jobs(context: click.Context, _begun: str) -> Iterator[Word]:
    """Jobs that have guests here, or are about to; the newest first."""
    return ((job_id, "") for job_id in newest_first(present(settings_of(context))))


@offered
def past_jobs(context: click.Context, begun: str) -> Iterator[Word]:
    """Jobs on record here, the newest first; of one that is written out, its attempts."""
    records = recorded(settings_of(context))
    for job_id in newest_first(records):
        yield job_id, ""
        if begun.startswith(f"{job_id}."):
            yield from ((f"{job_id}.{attempt}", "") for attempt in sorted(records[job_id], key=int))


@offered
def any_jobs(context: click.Context, _begun: str) -> Iterator[Word]:
    """Both."""
    site = settings_of(context)
    return ((job_id, "") for job_id in newest_first(present(site) | recorded(site).keys()))


@offered
def nodes(context: click.Context, _begun: str) -> Iterator[Word]:
    """Nodes of the server whose host this is, and of the job in which this is."""
    site = settings_of(context)
    found = [*first_words(Path(site.torque_home, "server_priv", "nodes"))]
    if "PBS_NODEFILE" in os.environ:
        found += first_words(Path(os.environ["PBS_NODEFILE"]))
    return ((name, "") for name in dict.fromkeys(found) if valid_host(name))


@offered
def faulty_nodes(context: click.Context, _begun: str) -> Iterator[Word]:
    """Nodes against which something is held here."""
    from nornir_torque_vm.runstate.faultrecord import FaultRecords

    found = FaultRecords(settings_of(context).history_dir).all()
    return ((name, faults[-1].what if faults else "") for name, faults in sorted(found.items()))


@offered
def labs(_context: click.Context, _begun: str) -> Iterator[Word]:
    """Labs that are up, or were left behind."""
    from nornir_torque_vm.lab.layout import LAB_NAME, LabPaths, cache_dir

    folder = LabPaths(cache_dir(), "default").labs
    return ((name, "") for name in names_in(folder) if LAB_NAME.fullmatch(name) and (folder / name).is_dir())


@offered
def lab_nodes(context: click.Context, _begun: str) -> Iterator[Word]:
    """Hosts of the lab that is named before."""
    from nornir_torque_vm.lab import HEAD, Lab

    lab = Lab(context.params["name"])
    names = [*lab.node_names, *([HEAD] if lab.torque else [])] if lab.paths.state.is_dir() else []
    return ((name, "") for name in names)


def request(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """What can follow in the value of ``-vm``: a key, or a value of it where they can be listed."""
    given, comma, item = begun.rpartition(",")
    key, equals, value = item.partition("=")
    with contextlib.suppress(TorqueVMError):
        if equals:
            kind = KEYS.find(key).kind
            found = [*((choice, "") for choice in kind.choices)]
            if isinstance(kind, ImageRef):
                found += images_of(settings_of(context))
        else:
            taken = {one.partition("=")[0].lower() for one in given.split(",")}
            found = [(f"{field.name}=", field.help) for field in KEYS if field.name not in taken]
        before = f"{given}{comma}{key}{equals}" if equals else f"{given}{comma}"
        wanted = (value if equals else key).lower()
        return [
            CompletionItem(f"{before}{word}", type=PART, help=about or None)
            for word, about in found
            if word.lower().startswith(wanted)
        ]
    return []


def settings_of(context: click.Context) -> Settings:
    """The settings that the command line or the environment names, or the site's.

    :raises SettingsError: they cannot be used.
    """
    return settings_module.load(context.params.get("settings_path"))


def images_of(site: Settings) -> Iterator[Word]:
    """Images of the pool, without a look into those whose names say that they are some.

    :raises ImageError: the pool cannot be read.
    """
    from nornir_torque_vm.baseimages.pool import Pool
    from nornir_torque_vm.baseimages.stock import claims

    pool = Pool(site.image_pool)
    catalogue = pool.catalogue()
    for name in pool.files():
        if claims(name, pool, catalogue):
            yield name, catalogue[name].description if name in catalogue else ""


def present(site: Settings) -> set[str]:
    """Ids of the jobs in the run directory; only root can list it."""
    from nornir_torque_vm.runstate.handover import HANDOVERS, MARKERS
    from nornir_torque_vm.runstate.jobstate import JOBS, JobState

    run = Path(site.run_dir)
    found = {name for folder in (MARKERS, HANDOVERS) for name in names_in(run / folder) if is_job_id(name)}
    for tag in names_in(run / JOBS):  # guests that no batch job has are known by their plan alone
        with contextlib.suppress(TorqueVMError):
            state = JobState.of_tag(run, tag)
            found |= {state.job.id} if state is not None else set()
    return found


def recorded(site: Settings) -> dict[str, set[str]]:
    """Ids of the jobs in the history, with the numbers of their attempts; only root can list it."""
    found: dict[str, set[str]] = {}
    for name in names_in(Path(site.history_dir)):
        job_id, _, attempt = name.rpartition(".")
        if attempt.isdecimal() and is_job_id(job_id):
            found.setdefault(job_id, set()).add(attempt)
    return found


def newest_first(job_ids: Iterable[str]) -> list[str]:
    """The ids by their numbers, which a server counts up."""
    return sorted(job_ids, key=lambda one: ([*map(int, job_slug(one).split("-"))], one), reverse=True)


def names_in(folder: Path) -> list[str]:
    """What is in a directory; nothing if it cannot be listed."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names
    except OSError:
        return []


def first_words(path: Path) -> list[str]:
    """The first word of each line of a file but of comments; none if it cannot be read.

    So stand nodes in a nodefile and in server_priv/nodes (pbs_server's manual page).
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return list(dict.fromkeys(words[0] for words in map(str.split, lines) if words and words[0][0] != "#"))
