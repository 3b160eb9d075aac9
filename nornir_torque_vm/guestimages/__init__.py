"""Guest images for labs and tests, built on this machine from Debian's packages.

``micro`` is a kernel, busybox and dropbear in 20 MB, ready in seconds even under pure emulation;
``micro-files`` is the same for guests with their user's files; ``debian`` is a real Debian 12 with systemd
and cloud-init. All are complete disks that any BIOS boots, so they take the same road through overlay,
seed and libvirt as a site's own image.

::

    path = build("micro", Path.home() / ".cache/torque-vm", progress=print)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from nornir_torque_vm.errors import ImageBuildError

if TYPE_CHECKING:
    from nornir_torque_vm.guestimages.recipe import Recipe
    from nornir_torque_vm.guestimages.store import Store

NAMES = ("micro", "micro-files", "debian")
"""The images there are recipes for."""

LOCK_SECONDS = 1800.0
"""How long one build waits for another of the same image."""


class Description(TypedDict):
    """What :func:`describe` says; ``size`` in bytes, 0 when it is not built."""

    name: str
    path: str
    built: bool
    size: int


def build(
    name: str,
    cache: Path,
    *,
    progress: Callable[[str], None] | None = None,
    force: bool = False,
) -> Path:
    """Return the image ``name`` as qcow2 file, building it when it is missing or its recipe changed.

    The recipe is this package's own files and the versions of all Debian packages in the image. apt is
    asked for those only when its lists or settings changed since the last time.

    :param cache: the cache directory; the image becomes ``<cache>/images/pool/<name>.qcow2``, mode 0444.
    :param progress: called with one line of text per step.
    :param force: build in any case.
    :raises ImageBuildError: unknown name, a missing or failing tool (its last words are quoted),
        a package apt does not have, or too long a wait for another build.
    """
    from nornir_torque_vm.guestimages.store import Store

    tell = progress or _silent
    recipe = recipe_of(name)
    store = Store(cache, name)
    with store.locked(LOCK_SECONDS, tell):
        return _build_locked(recipe, store, tell, force=force)


def describe(name: str, cache: Path) -> Description:
    """Say where an image is and whether it is built, without building anything."""
    from nornir_torque_vm.guestimages.store import Store

    path = Store(cache, name).image
    built = path.is_file()
    return Description(name=name, path=str(path), built=built, size=path.stat().st_size if built else 0)


def recipe_of(name: str) -> Recipe:
    """The recipe of the image ``name``.

    :raises ImageBuildError: there is none.
    """
    if name == "micro":
        from nornir_torque_vm.guestimages import micro

        return micro.RECIPE
    if name == "micro-files":
        from nornir_torque_vm.guestimages import micro

        return micro.FILES_RECIPE
    if name == "debian":
        from nornir_torque_vm.guestimages import debian

        return debian.RECIPE
    *names, last = NAMES
    raise ImageBuildError(
        f"there is no recipe for an image {name!r}", hint=f"there are {', '.join(names)} and {last}"
    )


def _build_locked(recipe: Recipe, store: Store, tell: Callable[[str], None], *, force: bool) -> Path:
    from nornir_torque_vm.guestimages import apt
    from nornir_torque_vm.guestimages.recipe import Workplace, record

    known, lists = store.known(), apt.lists_state()
    same_sources = bool(known) and known.get("sources") == record(recipe, ())["sources"]
    if same_sources and store.lists_state() == lists and not force:
        return store.image
    try:
        packages = recipe.packages()
    except ImageBuildError as error:
        if force or not same_sources:
            raise
        tell(f"{recipe.name}: using the image from before: {error}")
        return store.image
    wanted = record(recipe, packages)
    if known != wanted or force:
        tell(f"{recipe.name}: building ({'asked to' if force else 'changed' if known else 'not there yet'})")
        with store.workplace() as directory:
            product = recipe.make(Workplace(directory, store.downloads, packages, tell))
            store.publish(product)
        tell(f"{recipe.name}: {store.image} ({store.image.stat().st_size / 1e6:.1f} MB)")
    store.remember(wanted, lists)
    return store.image


def _silent(line: str) -> None:
    """Progress for those who did not ask for any."""
