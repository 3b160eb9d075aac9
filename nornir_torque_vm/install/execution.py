"""Carrying out a plan: every file appears whole or not at all, and the list of what is ours never lags."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.ground import settled
from nornir_torque_vm.install.manifest import NAME as MANIFEST
from nornir_torque_vm.install.manifest import Manifest
from nornir_torque_vm.install.model import Action, Verb
from nornir_torque_vm.install.planning import Plan

_WRITES = {Verb.CREATE, Verb.UPDATE, Verb.EDIT, Verb.RESTORE}


def _nothing(_action: Action) -> None:
    """What is to be done before an action, usually."""


def carry_out(
    plan: Plan,
    prefix: str,
    compile_settings: Callable[[str], object],
    before: Callable[[Action], None] = _nothing,
) -> None:
    """Do what the plan says.

    What is going to be ours is written down before it is made, and what no longer is only afterwards:
    a run that is killed can be repeated or taken back.

    :param compile_settings: called with the settings' directory where the plan says COMPILE.
    :param before: called before each action; what it raises ends the run there.
    :raises InstallError, SettingsError, StateError: something cannot be done; what was done until then stays.
    """
    if plan.idle:
        return
    manifest = f"{prefix}/{MANIFEST}"
    make_directory(prefix)
    _save(manifest, plan.before.union(plan.after))
    for action in plan.actions:
        before(action)
        _do(action, compile_settings)
    if plan.after.empty:
        remove(manifest)
        if prefix in plan.before.directories:
            remove(prefix)
    else:
        _save(manifest, plan.after)


def _do(action: Action, compile_settings: Callable[[str], object]) -> None:
    if action.verb is Verb.MAKE:
        make_directory(action.path, action.mode)
    elif action.verb in _WRITES:
        write(action.path, action.content or b"", action.mode)
    elif action.verb is Verb.COMPILE:
        compile_settings(str(PurePosixPath(action.path).parent))
    elif action.verb is Verb.REMOVE:
        remove(action.path)


def write(path: str, content: bytes, mode: int | None) -> None:
    """Write a file whole, behind root's links; it keeps its owner, and its mode where none is given.

    :raises InstallError: it cannot be written; then it is as it was.
    """
    real = Path(settled(path))
    fresh = real.with_name(f".{real.name}.{secrets.token_hex(8)}")
    try:
        there = real.stat() if real.exists() else None
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            if there is not None:
                os.fchown(fd, there.st_uid, there.st_gid)
            os.fchmod(fd, mode if mode is not None else there.st_mode & 0o7777 if there else 0o644)
        fresh.replace(real)
    except OSError as error:
        raise _cannot("write", path, error) from None
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written there is nothing to remove
            fresh.unlink()


def make_directory(path: str, mode: int | None = None) -> None:
    """Make a directory; one that is there stays as it is.

    :param mode: permission bits; None, as for parents that are missing too: everybody may enter.
    """
    real = Path(settled(path))
    missing = [part for part in (real, *real.parents) if not part.exists()]
    try:
        for part in reversed(missing):
            part.mkdir()
            part.chmod(0o755 if mode is None or part != real else mode)  # whatever the umask
    except OSError as error:
        raise _cannot("make the directory", path, error) from None


def remove(path: str) -> None:
    """Remove a file, or a directory if nothing is in it; what is gone already is fine."""
    real = Path(settled(path))
    try:
        if real.is_dir():
            if next(real.iterdir(), None) is None:
                real.rmdir()
        else:
            real.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot("remove", path, error) from None


def _cannot(verb: str, path: str, error: OSError) -> InstallError:
    denied = error.errno in {errno.EACCES, errno.EPERM} and os.geteuid() != 0
    return InstallError(f"cannot {verb} {path}: {error.strerror}", hint="run this as root" if denied else "")


def _save(path: str, manifest: Manifest) -> None:
    write(path, manifest.to_json(), 0o644)
