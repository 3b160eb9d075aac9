"""``torque-vm image``: the site's pool of images, and building the guest images of labs and tests."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import click

from nornir_torque_vm.cli.pool import COMMANDS
from nornir_torque_vm.cli.show import table
from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages import NAMES, build, describe
from nornir_torque_vm.lab.layout import cache_dir


@click.group()
def image() -> None:
    """Look after the pool of images that jobs boot; build images for labs and tests."""


for pool_command in COMMANDS:
    image.add_command(pool_command)


def list_built(_context: click.Context, _option: click.Parameter, wanted: object) -> None:
    """List the recipes and end."""
    if wanted:
        rows = [describe(name, cache_dir()) for name in NAMES]
        if wanted == "json":
            click.echo(json.dumps(rows, indent=1))
        else:
            sizes = [f"{row['size'] / 1e6:.1f} MB" if row["built"] else "not built" for row in rows]
            cells = [(row["name"], size, row["path"]) for row, size in zip(rows, sizes, strict=True)]
            click.echo(table(("image", "size", "path"), cells))
        raise click.exceptions.Exit(0)


@image.command(name="build")
@click.argument("names", nargs=-1, required=True, type=click.Choice(NAMES))
@click.option("--force", is_flag=True, help="Build again even when nothing changed.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Put a copy here as well: a file, or a directory such as a site's image pool.",
)
@click.option("--quiet", is_flag=True, help="Say nothing on the way.")
@click.option(
    "--list", "listed", flag_value="table", is_eager=True, expose_value=False, callback=list_built,
    help="List the images there are recipes for, and whether they are built.",
)  # fmt: skip
@click.option(
    "--list-json", flag_value="json", is_eager=True, expose_value=False, callback=list_built,
    help="The same for programs.",
)  # fmt: skip
def build_(names: tuple[str, ...], force: bool, output: Path | None, quiet: bool) -> None:
    """Build guest images where their recipe or a package of theirs changed, and print their paths.

    micro: kernel, busybox and dropbear, for fast tests. debian: Debian 12 with cloud-init and Open MPI.
    """
    if output is not None and len(names) > 1 and not output.is_dir():
        raise click.UsageError(f"--output {output} has to be a directory for {len(names)} images")
    for name in names:
        path = build(name, cache_dir(), progress=None if quiet else tell, force=force)
        click.echo(copy(path, output) if output is not None else path)


def tell(line: str) -> None:
    """A step of a build, on stderr: stdout has the paths alone."""
    print(line, file=sys.stderr, flush=True)


def copy(image_path: Path, target: Path) -> Path:
    """Copy an image to a file or into a directory; it appears there whole or not at all.

    :raises ImageBuildError: it cannot be written.
    """
    target = target / image_path.name if target.is_dir() else target
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(image_path, part)
        part.chmod(0o444)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ImageBuildError(f"the image cannot be copied to {target}: {error.strerror}") from None
    return target
