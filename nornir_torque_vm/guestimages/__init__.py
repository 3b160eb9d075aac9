"""Guest images for labs and tests, built on this machine from Debian's packages.

``micro`` is a kernel, busybox and dropbear in 20 MB, ready in seconds even under pure emulation;
``debian`` is a real Debian 12 with systemd and cloud-init. Both are complete disks that any BIOS
boots, so they take the same road through overlay, seed and libvirt as a site's own image.

::

    path = build("micro", Path.home() / ".cache/torque-vm", progress=print)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_torque_vm.errors import ImageBuildError

if TYPE_CHECKING:
    from nornir_torque_vm.guestimages.recipe import Recipe
    from nornir_torque_vm.guestimages.store import Store

NAMES = ("micro",)
"""The images there are recipes for."""

LOCK_SECONDS = 1800.0
"""How long one build waits for another of the same image."""


def build(
    name: str,
    cache: Path,
    *,
    progress: Callable[[str], None] | None = None,
    force: bool = False,
) -> Path:
    """Return the image ``name`` as qcow2 file, building it when it is missing or its recipe changed.

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


def _build_locked(recipe: Recipe, store: Store, tell: Callable[[str], None], *, force: bool) -> Path:
    from nornir_torque_vm.guestimages.recipe import Workplace, record

    known = store.known()
    try:
        packages = recipe.packages()
    except ImageBuildError as error:
        if force or {**record(recipe, ()), "packages": None} != {**known, "packages": None}:
            raise
        tell(f"{recipe.name}: using the image from before: {error}")
        return store.image
    wanted = record(recipe, packages)
    if known == wanted and not force:
        return store.image
    tell(
        f"{recipe.name}: building ({'asked to' if force else 'recipe is new' if known else 'not there yet'})"
    )
    with store.workplace() as directory:
        product = recipe.make(Workplace(directory, store.downloads, packages, tell))
        store.publish(product, wanted)
    tell(f"{recipe.name}: {store.image} ({store.image.stat().st_size / 1e6:.1f} MB)")
    return store.image


def recipe_of(name: str) -> Recipe:
    """The recipe of the image ``name``.

    :raises ImageBuildError: there is none.
    """
    if name == "micro":
        from nornir_torque_vm.guestimages import micro

        return micro.RECIPE
    raise ImageBuildError(f"there is no recipe for an image {name!r}", hint=f"there is {' and '.join(NAMES)}")


def _silent(line: str) -> None:
    """Progress for those who did not ask for any."""
