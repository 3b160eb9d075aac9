"""Debian packages as files: what apt would take now, fetched into the cache, unpacked, never installed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages.tool import run

_QUERY_TIMEOUT = 60.0
_DOWNLOAD_TIMEOUT = 900.0
_UPDATE_HINT = "run apt-get update, and see that apt's sources hold Debian 12 (amd64)"
# apt replaces the files in these by renaming, which changes the directory's time.
_DECIDING = tuple(
    Path(path)
    for path in (
        "/var/lib/apt/lists", "/etc/apt", "/etc/apt/sources.list", "/etc/apt/sources.list.d",
        "/etc/apt/preferences", "/etc/apt/preferences.d", "/etc/apt/apt.conf.d",
    )
)  # fmt: skip
# Root's apt would otherwise fetch as the user _apt, who cannot write into the cache.
_AS_ME = ("-o", "APT::Sandbox::User=root")


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """One version of a package as apt's lists describe it; ``sha256`` is empty when they do not say."""

    name: str
    version: str
    file: str
    sha256: str = ""


def parse_uris(text: str) -> tuple[Package, ...]:
    """Read what ``apt-get --print-uris`` prints: ``'URI' FILE SIZE HASH`` a line; others are skipped."""
    packages = []
    for line in text.splitlines():
        found = re.fullmatch(r"'[^']+' (\S+\.deb) \d+ ?(\S*)", line.strip())
        if found is None:
            continue
        file, digest = found.groups()
        name, version, _ = file.split("_", 2)
        sha256 = digest.removeprefix("SHA256:") if digest.startswith("SHA256:") else ""
        packages.append(Package(name, urllib.parse.unquote(version), file, sha256))
    return tuple(sorted(packages, key=lambda package: package.name))


def lists_state() -> str:
    """Something that changes whenever apt may come to prefer other versions; costs no process."""
    state = []
    for path in _DECIDING:
        with contextlib.suppress(OSError):
            state.append(f"{path} {path.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(state).encode()).hexdigest()


def candidates(names: Sequence[str]) -> tuple[Package, ...]:
    """The packages ``names`` in the versions apt would fetch now.

    :raises ImageBuildError: apt does not know one of them.
    """
    try:
        # Not in the caller's directory: apt leaves out what lies there already.
        text = run(
            ["apt-get", *_AS_ME, "--print-uris", "download", *names], timeout=_QUERY_TIMEOUT, cwd=Path("/")
        )
    except ImageBuildError as error:
        raise ImageBuildError(error.what, hint=error.hint or _UPDATE_HINT) from None
    found = parse_uris(text)
    missing = set(names) - {package.name for package in found}
    if missing:
        raise ImageBuildError(f"apt cannot fetch {', '.join(sorted(missing))}", hint=_UPDATE_HINT)
    return found


def closure(names: Sequence[str]) -> tuple[Package, ...]:
    """``names`` and all they depend on (not what they recommend), for an empty system.

    :raises ImageBuildError: apt cannot put such a system together.
    """
    empty = ("-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=false")
    try:
        text = run(
            ["apt-get", *_AS_ME, *empty, "--print-uris", "--yes", "install", *names], timeout=_QUERY_TIMEOUT
        )
    except ImageBuildError as error:
        raise ImageBuildError(error.what, hint=error.hint or _UPDATE_HINT) from None
    return parse_uris(text)


def kernel_package(meta: str) -> str:
    """Name of the real kernel package the meta package ``meta`` depends on now."""
    text = run(["apt-cache", "show", "--no-all-versions", meta], timeout=_QUERY_TIMEOUT)
    found = re.search(r"^Depends:.*?\b(linux-image-\d[^\s,]*)", text, re.MULTILINE)
    if found is None:
        raise ImageBuildError(f"apt's lists do not say which kernel {meta} stands for", hint=_UPDATE_HINT)
    return found.group(1)


def fetch(packages: Iterable[Package], directory: Path) -> list[Path]:
    """Have the packages' files in ``directory``: what lies there undamaged is not fetched again."""
    directory.mkdir(parents=True, exist_ok=True)
    wanted = list(packages)
    missing = [package for package in wanted if not _intact(directory / package.file, package.sha256)]
    if missing:
        versions = [f"{package.name}={package.version}" for package in missing]
        run(["apt-get", *_AS_ME, "download", *versions], timeout=_DOWNLOAD_TIMEOUT, cwd=directory)
    paths = [directory / package.file for package in wanted]
    for package, path in zip(wanted, paths, strict=True):
        if not _intact(path, package.sha256):
            raise ImageBuildError(
                f"{path} is not the file apt's lists describe", hint="delete it and build again"
            )
    return paths


def unpack(files: Iterable[Path], directory: Path) -> None:
    """Unpack package files over each other into ``directory``; none of their scripts runs."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        run(
            ["dpkg-deb", "--extract", file, directory],
            timeout=_DOWNLOAD_TIMEOUT,
            env={"TMPDIR": os.fspath(directory)},
        )


def _intact(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as stream:
            return not sha256 or hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False
