"""The image cache: one build of an image at a time, results that appear whole or not at all.

::

    <cache>/images/pool/<name>.qcow2     the image, mode 0444: what a lab's nodes mount read-only
    <cache>/images/<name>/recipe.json    what it was made of
    <cache>/images/<name>/…              what else the build keeps (micro: vmlinuz, initramfs)
    <cache>/images/downloads/            package files
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages.recipe import Product
from nornir_torque_vm.guestimages.tool import Progress

_POLL_SECONDS = 0.2


class Store:
    """The part of the cache that belongs to one image."""

    def __init__(self, cache: Path, name: str) -> None:
        self.name = name
        self.directory = cache / "images" / name
        self.downloads = cache / "images" / "downloads"
        self.image = cache / "images" / "pool" / f"{name}.qcow2"
        self._record = self.directory / "recipe.json"

    @contextlib.contextmanager
    def locked(self, seconds: float, progress: Progress) -> Iterator[None]:
        """Hold the image's lock; it ends with the process that holds it, however that ends.

        :raises ImageBuildError: another build held it for all of ``seconds``.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.image.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ImageBuildError(f"the image cache cannot be written: {error}") from None
        try:
            self._wait(handle, seconds, progress)
            for stale in self.directory.glob("work-*"):
                shutil.rmtree(stale, ignore_errors=True)
            yield
        finally:
            os.close(handle)

    def _wait(self, handle: int, seconds: float, progress: Progress) -> None:
        end, told = time.monotonic() + seconds, False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise ImageBuildError(
                        f"another build of the image {self.name} was not done after {seconds:g} s"
                    ) from None
                if not told:
                    progress(f"{self.name}: waiting for another build of it")
                    told = True
                time.sleep(_POLL_SECONDS)
            else:
                return

    def known(self) -> dict[str, object]:
        """The record of the image that is there; empty when there is none or it is not that one."""
        kept = self._read()
        try:
            size = self.image.stat().st_size
        except OSError:
            return {}
        record = kept.get("record")
        return record if isinstance(record, dict) and kept.get("size") == size else {}

    def lists_state(self) -> object:
        """The state of apt's lists when the record was made or last confirmed."""
        return self._read().get("apt lists")

    def remember(self, record: Mapping[str, object], lists: str) -> None:
        """Say what the image that is there was made of, and which state of apt's lists that is true for."""
        fresh = self.directory / "recipe.json.new"
        kept = {"record": record, "size": self.image.stat().st_size, "apt lists": lists}
        fresh.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        fresh.replace(self._record)

    def _read(self) -> dict[str, object]:
        try:
            kept = json.loads(self._record.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """An empty directory on the cache's own file system, gone afterwards."""
        path = Path(tempfile.mkdtemp(prefix="work-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, product: Product) -> None:
        """Move the product to its places.

        The record of the image before it goes first: a crash on the way means to build again.
        """
        self._record.unlink(missing_ok=True)
        for name, path in product.keep.items():
            path.chmod(0o444)
            path.replace(self.directory / name)
        product.image.chmod(0o444)
        with product.image.open("rb") as stream:
            os.fsync(stream.fileno())
        product.image.replace(self.image)
