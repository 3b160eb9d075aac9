"""What is read out of apt's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages import apt
from nornir_torque_vm.guestimages.debian import bootstrap_command, parse_apt_options, parse_sources

URIS = """\
Reading package lists...
'http://deb.debian.org/debian/pool/zlib1g_1.2.13.dfsg-1_amd64.deb' zlib1g_1%3a1.2.13.dfsg-1_amd64.deb \
86684 SHA256:d7dd
'http://deb.debian.org/debian/pool/lz4_1.9.4-1_amd64.deb' lz4_1.9.4-1_amd64.deb 5 MD5Sum:aa
E: something else
"""


def test_packages_are_read_with_version_and_digest() -> None:
    """The version is the file name's, decoded; only a SHA-256 counts as digest."""
    assert apt.parse_uris(URIS) == (
        apt.Package("lz4", "1.9.4-1", "lz4_1.9.4-1_amd64.deb"),
        apt.Package("zlib1g", "1:1.2.13.dfsg-1", "zlib1g_1%3a1.2.13.dfsg-1_amd64.deb", "d7dd"),
    )


def test_a_package_apt_does_not_have_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what usually helps."""
    monkeypatch.setattr(apt, "run", lambda *_, **__: URIS)
    with pytest.raises(ImageBuildError, match=r"apt cannot fetch dropbear, jq; run apt-get update"):
        apt.candidates(["lz4", "jq", "dropbear"])


def test_the_kernel_behind_the_meta_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's meta package depends on exactly one real one."""
    text = "Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2), x\n"
    monkeypatch.setattr(apt, "run", lambda *_, **__: text)
    assert apt.kernel_package("linux-image-cloud-amd64") == "linux-image-6.1.0-56-cloud-amd64"
    monkeypatch.setattr(apt, "run", lambda *_, **__: "Package: other\n")
    with pytest.raises(ImageBuildError, match="which kernel linux-image-cloud-amd64 stands for"):
        apt.kernel_package("linux-image-cloud-amd64")


def test_an_intact_file_is_not_fetched_again_and_a_damaged_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest decides, not the name."""
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    packages = [
        apt.Package("a", "1", "a_1.deb", empty),
        apt.Package("b", "2", "b_2.deb", empty),
        apt.Package("c", "3", "c_3.deb"),
    ]
    fetched: list[str] = []

    def download(argv: list[str], *, cwd: Path, timeout: float) -> str:
        fetched.extend(argv[4:])
        (cwd / "b_2.deb").write_bytes(b"")
        return ""

    monkeypatch.setattr(apt, "run", download)
    (tmp_path / "a_1.deb").write_bytes(b"")
    (tmp_path / "b_2.deb").write_bytes(b"half a download")
    (tmp_path / "c_3.deb").write_bytes(b"apt's lists have no digest of it")
    names = [path.name for path in apt.fetch(packages, tmp_path)]
    assert names == ["a_1.deb", "b_2.deb", "c_3.deb"]
    assert fetched == ["b=2"]


def test_a_fetched_file_with_another_digest_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever apt said about its download."""
    monkeypatch.setattr(apt, "run", lambda *_, **__: "")
    (tmp_path / "a_1.deb").write_bytes(b"other")
    with pytest.raises(ImageBuildError, match="is not the file apt's lists describe"):
        apt.fetch([apt.Package("a", "1", "a_1.deb", "00")], tmp_path)


def test_the_state_of_the_lists_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt-get update renames new lists into their directory; nothing else changes the state."""
    lists = tmp_path / "lists"
    lists.mkdir()
    monkeypatch.setattr(apt, "_DECIDING", (lists, tmp_path / "missing"))
    before = apt.lists_state()
    assert apt.lists_state() == before
    (lists / "new").touch()
    assert apt.lists_state() != before


def test_only_debians_own_suites_of_the_release_are_used() -> None:
    """A site's mirror of Debian, yes; other software's sources and other releases, no."""
    text = (
        "http://mirror.site/debian/ bookworm main Debian\n"
        "http://mirror.site/security/ bookworm-security main Debian\n"
        "http://mirror.site/debian/ bookworm main Debian\n"
        "http://mirror.site/debian/ trixie main Debian\n"
        "https://deb.nodesource.com/node_20.x/ nodistro main nodistro\n"
        "https://packages.example/apt/ bookworm main Example\n"
    )
    assert parse_sources(text) == (
        "deb http://mirror.site/debian/ bookworm main",
        "deb http://mirror.site/security/ bookworm-security main",
    )


def test_how_apt_fetches_is_handed_on_and_nothing_else() -> None:
    """A proxy decides whether the build works at all; hooks and dpkg options are this machine's own."""
    text = (
        'APT "";\nAcquire::http::Proxy "http://proxy:3128";\n'
        'Acquire::https::Proxy::deb.debian.org "DIRECT";\n'
        'Acquire::Check-Valid-Until "false";\nDPkg::Post-Invoke:: "rm -rf /";\nAcquire::Languages "none";\n'
    )
    assert parse_apt_options(text) == (
        'Acquire::http::Proxy "http://proxy:3128";',
        'Acquire::https::Proxy::deb.debian.org "DIRECT";',
        'Acquire::Check-Valid-Until "false";',
    )


def test_the_bootstrap_takes_sources_and_options_as_words(tmp_path: Path) -> None:
    """Each is one argument of mmdebstrap, in the places its manual gives."""
    command = bootstrap_command(tmp_path, ["deb http://m/ bookworm main"], ['Acquire::Check-Date "false";'])
    assert command[-3:] == ["bookworm", tmp_path, "deb http://m/ bookworm main"]
    assert '--aptopt=Acquire::Check-Date "false";' in command
    assert "--mode=root" in command
