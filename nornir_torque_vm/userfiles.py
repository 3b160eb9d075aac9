"""Which of a user's files guests get, and whose guests may have them: the trust table. Pure.

Who is root in a guest decides. The file server and virtiofsd take the guest's word for who asks: they may
only serve guests whose root is the site. With 9p QEMU opens the files itself, with nobody's rights but the
owner's (see ``templates/domain.xml.j2``), so it does not matter who is root.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InventoryError, RequestError, SettingsError
from nornir_torque_vm.model import Distro, Image, Owner, Plan, UserDir, UserFiles

SITE_ROOT = frozenset(UserFiles)
"""Ways to their owner's files that guests may have where root is the site: those of its images."""
USER_ROOT = frozenset({UserFiles.NONE, UserFiles.NINE_P})
"""Where the user is root: those of the user's own image."""

MOST_DEVICES = 17
"""Directories that can be devices of a guest: the home and sixteen more, each in a slot of its bus."""


def ways_for(image: Image) -> frozenset[UserFiles]:
    """How guests of ``image`` may have files."""
    return USER_ROOT if image.own else SITE_ROOT


def owner_emulates(plan: Plan) -> bool:
    """Whether the emulators of a plan's guests have the owner's rights: as in ``templates/domain.xml.j2``."""
    return plan.user_files is UserFiles.NINE_P or plan.image.own


def files_for(settings: Settings, owner: Owner, image: Image) -> tuple[UserFiles, tuple[UserDir, ...]]:
    """Return how the guests of a job get their owner's files, and which directories.

    Jobs of root, such as a self-test's, get none: with root's rights 9p would open the node.

    :raises RequestError: guests of this image may not have files in the way the site has them.
    :raises InventoryError: the owner has no home that could be given to guests.
    :raises SettingsError: nobody said from which server a directory comes.
    """
    kind = settings.user_files
    if image.distro is Distro.OSV and kind is not UserFiles.NFS:  # it knows no other way
        return UserFiles.NONE, ()
    if kind is UserFiles.NONE or owner.uid == 0:
        return UserFiles.NONE, ()
    if kind not in ways_for(image):
        raise RequestError(
            f"guests of your own image {show(image.name)} get no files by {kind}: you are root in them",
            hint="boot an image of the site's",
        )
    paths = _outermost((_home(owner), *settings.work_dirs))
    places = [(path, "") for path in paths] + _elsewhere(settings.software_dirs, paths)
    if kind is UserFiles.NFS:
        sources = settings.nfs_sources
        return kind, tuple(UserDir(path, _nfs_source(path, sources), other) for path, other in places)
    if len(places) > MOST_DEVICES:
        raise SettingsError(
            f"guests would have {len(places)} directories of their node, and {MOST_DEVICES} are the most",
            hint="shorten work_dirs or software_dirs",
        )
    return kind, tuple(UserDir(path, f"user{number}", other) for number, (path, other) in enumerate(places))


def _elsewhere(pairs: Iterable[str], taken: Sequence[str]) -> list[tuple[str, str]]:
    """Path on the nodes and in guests of directories that are elsewhere there, not over or below others."""
    places: list[tuple[str, str]] = []
    for pair in pairs:
        path, _, other = pair.partition("=")
        for there in (*taken, *(known for _, known in places)):
            if f"{other}/".startswith(f"{there}/") or there.startswith(f"{other}/"):
                raise SettingsError(
                    f"software_dirs puts {show(path)} at {show(other)}, where guests have {show(there)}",
                    hint="put it elsewhere",
                )
        places.append((path, other))
    return places


def _home(owner: Owner) -> str:
    home = posixpath.normpath(owner.home)
    if not home.startswith("/") or not home.strip("/"):
        raise InventoryError(
            f"the home directory {show(owner.home)} of {owner.name} cannot be given to guests",
            hint="correct the account",
        )
    return home


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """``paths`` without those below others: these come along, and nothing is mounted where users write."""
    different = tuple(dict.fromkeys(paths))
    return tuple(p for p in different if not any(p.startswith(f"{other}/") for other in different))


def _nfs_source(path: str, sources: Iterable[str]) -> str:
    """``SERVER:/EXPORT`` of ``path``: that of the longest directory of ``sources`` it is or is below."""
    found = {}
    for source in sources:
        export, _, directory = source.rpartition("=")
        if path == directory or path.startswith(f"{directory}/"):
            found[directory] = export + path[len(directory) :]
    if not found:
        raise SettingsError(
            f"nfs_sources does not say where {show(path)} comes from", hint="add SERVER:/EXPORT=/DIRECTORY"
        )
    return found[max(found, key=len)]
