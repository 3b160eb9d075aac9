"""The site's pool of images, as administrators change it: whole, checked, and told in one line."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from qcow2_bytes import image_bytes

from nornir_torque_vm.baseimages import copying as copying_module
from nornir_torque_vm.baseimages import pool as pool_module
from nornir_torque_vm.baseimages.pool import Pool
from nornir_torque_vm.catalogue import Entry, read_catalogue
from nornir_torque_vm.cli import pool as cli
from nornir_torque_vm.cli.image import image
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import Blame, ImageError
from nornir_torque_vm.images import open_image
from nornir_torque_vm.model import Distro


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pool of a site whose settings name it."""
    pool = tmp_path / "pool"
    pool.mkdir()
    settings = tmp_path / "settings.toml"
    settings.write_text(f'image_pool = "{pool}"\nimg_default = "micro.qcow2"\n')
    monkeypatch.setenv("TORQUE_VM_SETTINGS", str(settings))
    return pool


def run(*words: str) -> Result:
    """``torque-vm image WORDS``; its exit code is what the command returns."""
    return CliRunner().invoke(image, words, standalone_mode=False)


def code(done: Result) -> object:
    """The exit code, however the command ended."""
    assert not isinstance(done.exception, Exception), done.exception
    return done.return_value if done.exit_code == 0 else done.exit_code


def made(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.fixture
def own(tmp_path: Path) -> str:
    """An image somebody brings."""
    return made(tmp_path / "own.qcow2", image_bytes())


def test_an_added_image_is_whole_read_only_and_in_the_catalogue(site: Path, own: str) -> None:
    """Jobs can boot it from then on; nothing else is left."""
    done = run(
        "add", own, "--name", "deb.qcow2", "--distro", "Ubuntu", "--arch", "x86_64", "--description", "ü"
    )
    digest = hashlib.sha256(image_bytes()).hexdigest()
    assert (code(done), done.stdout) == (0, f"{site}/deb.qcow2 sha256:{digest}\n")
    assert (site / "deb.qcow2").read_bytes() == image_bytes()
    status = (site / "deb.qcow2").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o444, os.geteuid())
    assert read_catalogue(str(site)) == {"deb.qcow2": Entry(Distro.DEBIAN, "x86_64", "ü", digest)}
    assert open_image(str(site), "deb.qcow2").format == "qcow2"
    assert sorted(path.name for path in site.iterdir()) == [".lock", "catalogue.json", "deb.qcow2"]
    assert (site / "catalogue.json").stat().st_mode & 0o777 == 0o644


def test_a_raw_disk_has_to_be_called_one(site: Path, tmp_path: Path) -> None:
    """And what begins like something else is not taken for one."""
    disk = made(tmp_path / "disk.img", b"\xeb\x63\x90" + bytes(70_000))
    done = run("add", disk)
    assert (code(done), done.stderr) == (
        6, "torque-vm: image 'disk.img' is not a qcow2 image; if it is a raw disk, say --format raw\n",
    )  # fmt: skip
    assert code(run("add", disk, "--format", "raw")) == 0
    assert open_image(str(site), "disk.img").format == "raw"
    for start, hint in (
        (image_bytes(), "leave --format raw away"),
        (b"\x1f\x8b\x08 and so on", "unpack it first"),
        (b"KDMV\1", "torque-vm image convert FILE --from vmdk --name x"),
    ):
        done = run("add", made(tmp_path / "x", start), "--format", "raw")
        assert code(done) == 6
        assert done.stderr.endswith(f"; {hint}\n")
    assert not (site / "x").exists()


def test_holes_stay_holes_and_zeros_become_some(site: Path, tmp_path: Path) -> None:
    """An image of 10 GB with 1 GB of content takes 1 GB of the pool."""
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.write(b"x" * 5000 + bytes(3 << 20) + b"y")
        file.truncate(64 << 20)
    assert code(run("add", str(disk), "--format", "raw")) == 0
    copied = site / "disk"
    assert copied.stat().st_size == 64 << 20
    assert copied.stat().st_blocks * 512 <= 256 << 10
    assert subprocess.run(["cmp", disk, copied], check=False).returncode == 0
    assert read_catalogue(str(site))["disk"].sha256 == hashlib.sha256(disk.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (image_bytes(backing=b"/etc/shadow"), "builds on '/etc/shadow', which is outside the image pool"),
        (image_bytes(backing=b"none.qcow2"), "builds on 'none.qcow2', which does not exist"),
        (image_bytes(features=4, data_file=b"/x"), "keeps its data in another file ('/x')"),
        (image_bytes(crypt=2), "is encrypted"),
        (image_bytes(features=2), "is marked as corrupt"),
        (image_bytes(1 << 60), "more than 16T"),
        (image_bytes()[:0x1FFFF], "is cut off after 131071 bytes"),
        (b"", "is not a qcow2 image"),
    ],
)
def test_what_no_job_may_boot_does_not_get_into_the_pool(
    site: Path, tmp_path: Path, content: bytes, cause: str
) -> None:
    """The same rules as for each job."""
    (site / "other.qcow2").write_bytes(image_bytes())
    done = run("add", made(tmp_path / "bad.qcow2", content))
    assert code(done) == 6
    assert cause in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in site.iterdir() if path.name != ".lock") == ["other.qcow2"]


@pytest.mark.parametrize("name", ["../x", ".hidden", "a b", "catalogue json"])
def test_a_name_is_a_plain_file_name(site: Path, own: str, name: str) -> None:
    """As jobs may write it."""
    assert code(run("add", own, "--name", name)) == 6
    assert [path.name for path in site.parent.iterdir() if path.is_dir()] == ["pool"]


def test_what_cannot_be_opened_is_told(site: Path, tmp_path: Path) -> None:
    """No FIFO holds the command."""
    os.mkfifo(tmp_path / "fifo")
    for name, why in (
        ("none", "No such file"),
        ("fifo", "is not a regular file"),
        ("pool", "is not a regular"),
    ):
        done = run("add", str(tmp_path / name))
        assert code(done) == 6
        assert why in done.stderr
    assert list(site.iterdir()) == []


def test_an_image_is_replaced_only_by_force_and_never_below_another(
    site: Path, own: str, tmp_path: Path
) -> None:
    """Guests that run keep the old one: it gets another inode. What was said of it stays said."""
    assert code(run("add", own, "--description", "first", "--distro", "osv")) == 0
    with (site / "own.qcow2").open("rb") as opened:
        other = made(tmp_path / "new", image_bytes(2 << 30))
        assert "--force replaces it" in run("add", other, "--name", "own.qcow2").stderr
        assert code(run("add", other, "--name", "own.qcow2", "--force")) == 0
        assert opened.read() == image_bytes()
    entry = read_catalogue(str(site))["own.qcow2"]
    assert (entry.description, entry.distro) == ("first", Distro.OSV)
    assert open_image(str(site), "own.qcow2").virtual_size == 2 << 30

    assert code(run("add", made(tmp_path / "upper", image_bytes(backing=b"own.qcow2")))) == 0
    done = run("add", other, "--name", "own.qcow2", "--force")
    assert code(done) == 8
    assert "upper build on it" in done.stderr


def test_an_image_that_changes_while_it_is_copied_is_not_taken(
    site: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the one and half of the other would boot, perhaps."""

    def copying(source: int, target: int, tell: object) -> str:
        digest = copying_module.copy(source, target, lambda _: None)
        os.utime(own, ns=(1, 1))
        return digest

    monkeypatch.setattr(pool_module, "copy", copying)
    done = run("add", own)
    assert (code(done), "was changed while it was copied" in done.stderr) == (6, True)
    assert [path.name for path in site.iterdir()] == [".lock"]


def test_two_who_change_the_pool_do_so_after_each_other(site: Path, own: str) -> None:
    """The second one waits, and says what for; the catalogue of the first is not lost."""
    pool = Pool(str(site))
    with (site / ".lock").open("w") as held, Path(own).open("rb") as source:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ImageError, match="somebody else is changing the image pool") as caught:
            pool.add(source.fileno(), "x", Entry(), Deadline.after(0.2), lambda _: None)
    assert caught.value.blame is Blame.SITE
    assert [path.name for path in site.iterdir()] == [".lock"]


def test_a_full_pool_is_told_before_and_while_it_fills(
    site: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the image stays."""

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pool_module, "copy", full)
    done = run("add", own)
    assert str(done.exception) == (
        f"the image pool {site} cannot be changed: no space is left there; make room there"
    )
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result((1, 1, 1, 0, 0, 0, 0, 0, 0, 0)))
    assert "0 MiB are free" in str(run("add", own).exception)
    assert [path.name for path in site.iterdir()] == [".lock"]


def test_the_list_says_what_jobs_can_boot_and_why_not(site: Path, own: str) -> None:
    """For people and for programs."""
    assert code(run("list")) == 4
    assert code(run("add", own, "--name", "micro.qcow2", "--description", "small")) == 0
    (site / "bad.img").write_bytes(b"nothing")
    (site / "README").write_text("about")
    done = run("list")
    assert code(done) == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["IMAGE", "bad.img", "micro.qcow2"]
    assert "refused: image 'bad.img' is not a qcow2 image" in lines[1]
    assert lines[2].split()[1:3] == ["(default)", "1G"]
    found = json.loads(run("list", "--json").stdout)
    assert [one["name"] for one in found["images"]] == ["bad.img", "micro.qcow2"]
    assert found["images"][1]["virtual_size"] == 1 << 30


def test_an_image_is_shown_with_what_tells_its_family(site: Path, own: str) -> None:
    """By the file name, here; an image that cannot be booted has another exit code."""
    assert code(run("add", own, "--name", "debian.qcow2")) == 0
    (site / "upper").write_bytes(image_bytes(backing=b"debian.qcow2"))
    lines = dict(line.split(":", 1) for line in run("show", "debian.qcow2").stdout.splitlines())
    assert {key: text.strip() for key, text in lines.items()} == {
        "image": "debian.qcow2",
        "file": f"{site}/debian.qcow2",
        "disk": "1G (1073741824 bytes)",
        "stored": f"{(site / 'debian.qcow2').stat().st_blocks * 512} of 131072 bytes; the rest are holes",
        "format": "qcow2, version 3, clusters of 64K",
        "builds on": "no other image",
        "distro": "debian, by its file name",
        "arch": "x86_64",
        "description": "-",
        "sha256": hashlib.sha256(image_bytes()).hexdigest(),
        "catalogue": "has it",
    }
    assert json.loads(run("show", "upper", "--json").stdout)["backing"] == ["debian.qcow2"]
    (site / "upper").write_bytes(image_bytes(features=2))
    assert code(run("show", "upper")) == 6
    done = run("show", "debain.qcow2")
    assert code(done) == 4
    assert done.stderr.endswith("did you mean debian.qcow2?\n")


def test_an_image_is_what_was_put_there_or_verify_says_so(site: Path, own: str) -> None:
    """Each thing that can be wrong has its word; a difference goes first."""
    for name in ("good.qcow2", "changed.qcow2", "gone.qcow2"):
        assert code(run("add", own, "--name", name)) == 0
    assert code(run("verify")) == 0
    (site / "gone.qcow2").unlink()
    (site / ".x.part").write_bytes(b"left over")
    (site / "by-hand.qcow2").write_bytes(image_bytes())
    assert code(run("verify")) == 1
    assert code(run("verify", "good.qcow2", "by-hand.qcow2")) == 0
    (site / "changed.qcow2").chmod(0o644)
    with (site / "changed.qcow2").open("r+b") as file:
        file.seek(0x1F000)
        file.write(b"!")
    done = run("verify", "--json")
    assert code(done) == 7
    assert {one["name"]: one["state"] for one in json.loads(done.stdout)["images"]} == {
        ".x.part": "unknown file", "by-hand.qcow2": "no digest", "changed.qcow2": "differs",
        "gone.qcow2": "missing", "good.qcow2": "ok",
    }  # fmt: skip
    assert code(run("verify", "none")) == 4


def test_what_others_need_is_removed_by_force_only(site: Path, own: str, tmp_path: Path) -> None:
    """Other images, or the jobs that name none. An entry without a file can be removed as well."""
    for name in ("micro.qcow2", "base.qcow2"):
        assert code(run("add", own, "--name", name)) == 0
    assert code(run("add", made(tmp_path / "up", image_bytes(backing=f"{site}/base.qcow2".encode())))) == 0
    done = run("remove", "base.qcow2")
    assert (code(done), "up build on it" in done.stderr) == (8, True)
    done = run("remove", "micro.qcow2")
    assert (code(done), "(img_default)" in done.stderr) == (8, True)
    assert len(read_catalogue(str(site))) == 3
    assert code(run("remove", "up")) == 0
    assert code(run("remove", "base.qcow2")) == 0
    (site / "micro.qcow2").unlink()
    assert code(run("remove", "micro.qcow2")) == 0
    assert code(run("remove", "micro.qcow2")) == 4
    assert read_catalogue(str(site)) == {}


def test_a_pool_that_is_not_there_is_the_sites_fault(site: Path, own: str) -> None:
    """With any of the commands."""
    site.rmdir()
    for words in (["list"], ["show", "x"], ["verify"], ["remove", "x"], ["add", own]):
        error = run(*words).exception
        assert isinstance(error, ImageError)
        assert error.blame is Blame.SITE
        assert str(site) in str(error)


def test_progress_is_one_line_that_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal only, which the tests' standard error is not."""
    tell = cli.Progress("debian.qcow2", 2_000_000)
    tell(1_000_000)
    tell(1_500_000)
    tell(2_000_000)
    shown = capsys.readouterr().err.split("\r")[1:]
    assert [line.strip() for line in shown] == [
        "torque-vm: debian.qcow2: 50 % of 2.0 MB", "torque-vm: debian.qcow2: 100 % of 2.0 MB",
    ]  # fmt: skip
    assert shown[-1].endswith("\n")
