"""What an image is made of, in a form that can be compared: the reason to build it again or not."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nornir_torque_vm.guestimages.apt import Package
from nornir_torque_vm.guestimages.tool import Progress

HERE = Path(__file__).resolve().parent
FORMAT = 1
"""Of recipe.json; another number there means: build again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """What a build leaves in its work directory: the image, and files worth keeping beside the recipe."""

    image: Path
    keep: Mapping[str, Path] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Workplace:
    """Where and from what to build: an empty directory, a directory that keeps downloads, the packages."""

    directory: Path
    downloads: Path
    packages: tuple[Package, ...]
    progress: Progress


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one image.

    :param sources: files and directories of this package, relative to it, that decide the result.
    :param options: what else does, for people to read in recipe.json.
    :param packages: asks apt which packages the image would be made of now.
    """

    name: str
    sources: tuple[str, ...]
    options: Mapping[str, str]
    packages: Callable[[], tuple[Package, ...]]
    make: Callable[[Workplace], Product]


def record(recipe: Recipe, packages: Iterable[Package]) -> dict[str, object]:
    """The recipe as it stands now, as kept in recipe.json; equal records make equal images."""
    return {
        "format": FORMAT,
        "name": recipe.name,
        "sources": source_digests(recipe.sources),
        "options": dict(recipe.options),
        "packages": {package.name: package.version for package in packages},
    }


def source_digests(sources: Iterable[str], base: Path = HERE) -> dict[str, str]:
    """Relative path → SHA-256 of every file in ``sources``; directories are walked."""
    digests = {}
    for source in sources:
        top = base / source
        files = sorted(path for path in top.rglob("*") if path.is_file()) if top.is_dir() else [top]
        for file in files:
            digests[file.relative_to(base).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests
