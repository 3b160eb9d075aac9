"""The table of -vm keys: what each takes, with its limits."""

from __future__ import annotations

import dataclasses

import pytest

from nornir_torque_vm.config.settings import SETTINGS
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import Distro, FileRef
from nornir_torque_vm.request import Request


def test_keys_and_the_request_are_the_same_names() -> None:
    """A key that no request could hold, or a field that no key fills, would be lost in silence."""
    assert {field.name for field in KEYS} == {field.name for field in dataclasses.fields(Request)}
    assert [field.name for field in KEYS] == [
        "img", "distro", "arch", "ram", "vcpus", "vms_per_node", "vcpu_pinning", "vm_prologue", "vm_epilogue",
        "metadata", "disk", "fs_type", "hypervisor", "iocm", "iocm_min_cores", "iocm_max_cores", "vrdma",
        "unclot", "unclot_shmem",
    ]  # fmt: skip


IMAGE_WORDS = "the name of a file in the image pool, such as debian.qcow2, or a path such as ./mine.qcow2"
BOOLEANS = ("vcpu_pinning", "iocm", "vrdma", "unclot")


@pytest.mark.parametrize("key", BOOLEANS)
@pytest.mark.parametrize("text", ["0", "1"])
def test_the_inverted_numbers_are_refused(key: str, text: str) -> None:
    """0 was on and 1 was off in the earlier system; whoever writes one of them is told."""
    with pytest.raises(RequestError, match="their meaning was inverted in the earlier system"):
        KEYS.read(key, text)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("img", "debian-12.qcow2", "debian-12.qcow2"),
        ("img", "a", "a"),
        ("img", "A" * 200, "A" * 200),
        ("img", "x+y_z..img", "x+y_z..img"),
        ("distro", "debian", Distro.DEBIAN),
        ("distro", "Ubuntu", Distro.DEBIAN),
        ("distro", "REDHAT", Distro.REDHAT),
        ("distro", "centos", Distro.REDHAT),
        ("distro", "OSv", Distro.OSV),
        ("arch", "x86_64", "x86_64"),
        ("arch", "a" * 32, "a" * 32),
        ("vcpus", "1", 1),
        ("vcpus", "1024", 1024),
        ("ram", "1M", 1 << 20),
        ("ram", "192m", 192 << 20),
        ("vms_per_node", "1", 1),
        ("vms_per_node", "1024", 1024),
        ("hypervisor", "kvm", "kvm"),
        ("hypervisor", "qemu", "qemu"),
        ("hypervisor", "sKVM", "skvm"),
        ("img", "./mine.qcow2", "./mine.qcow2"),
        ("vcpu_pinning", "no", False),
        ("vcpu_pinning", "map.txt", FileRef("map.txt")),
        ("vm_prologue", "pro.sh", FileRef("pro.sh")),
        ("vm_epilogue", "/e p.sh", FileRef("/e p.sh")),
        ("metadata", "more.yaml", FileRef("more.yaml")),
        ("disk", "data.img", "data.img"),
        ("fs_type", "RAMDISK", "ramdisk"),
        ("iocm", "enabled", True),
        ("iocm_min_cores", "0", 0),
        ("iocm_max_cores", "1024", 1024),
        ("vrdma", "disabled", False),
        ("unclot", "On", True),
        ("unclot_shmem", "1M", 1 << 20),
    ],
)
def test_values_that_keys_take(key: str, text: str, value: object) -> None:
    """Limits are inclusive; words in any case."""
    assert KEYS.read(key, text) == (key, value)


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("img", "", IMAGE_WORDS),
        ("img", ".hidden", IMAGE_WORDS),
        ("img", "-rf", IMAGE_WORDS),
        ("img", "a b", IMAGE_WORDS),
        ("img", "a\0", IMAGE_WORDS),
        ("img", "A" * 201, IMAGE_WORDS),
        ("distro", "windows", "debian, ubuntu, redhat, centos or osv"),
        ("arch", "x86-64", "an architecture as libvirt names it, such as x86_64"),
        ("arch", "a" * 33, "an architecture as libvirt names it, such as x86_64"),
        ("arch", "8", "an architecture as libvirt names it, such as x86_64"),
        ("vcpus", "0", "a whole number from 1 to 1024"),
        ("vcpus", "1025", "a whole number from 1 to 1024"),
        ("ram", "1023K", "at least 1M"),
        ("vms_per_node", "0", "a whole number from 1 to 1024"),
        ("vms_per_node", "1025", "a whole number from 1 to 1024"),
        ("hypervisor", "xen", "kvm, skvm or qemu"),
        ("img", "./a\0", IMAGE_WORDS),
        ("fs_type", "nfs", "sharedfs or ramdisk"),
        ("vm_prologue", "", "the path of an executable file"),
        ("vm_epilogue", "a\nb", "the path of an executable file"),
        ("metadata", "", "the path of a cloud-init file"),
        ("disk", "", "the path of a disk image"),
        ("iocm_min_cores", "-1", "a whole number from 0 to 1024"),
        ("iocm_max_cores", "1025", "a whole number from 0 to 1024"),
        ("iocm", "maybe", "true or false"),
        ("unclot_shmem", "1K", "at least 1M"),
    ],
)
def test_values_that_keys_refuse(key: str, text: str, words: str) -> None:
    """One sentence that names the key and what it takes; the user is to blame."""
    with pytest.raises(RequestError) as caught:
        KEYS.read(key, text)
    assert str(caught.value).startswith(f"-vm key {key} is ")
    assert str(caught.value).endswith(f" but must be {words}")


def test_every_key_has_help_and_no_default_of_its_own() -> None:
    """Defaults are the site's; help is a phrase for a list, not a sentence."""
    for field in KEYS:
        assert field.help
        assert not field.help.endswith(".")
        assert field.kind.words
        assert field.default is None
        assert not field.default_from or SETTINGS[field.default_from].kind.words


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("img", "image"),
        ("distro", "operating system"),
        ("arch", "architecture"),
        ("vcpus", "virtual processors"),
        ("ram", "memory"),
        ("vms_per_node", "guests on each node"),
        ("hypervisor", "emulation"),
    ],
)
def test_the_help_says_what_the_key_is(key: str, part: str) -> None:
    """The essential word of each."""
    assert part in KEYS[key].help


def test_choices_for_completion() -> None:
    """Only keys whose values can be listed list them."""
    assert {field.name: field.kind.choices for field in KEYS if field.kind.choices} == {
        "distro": ("debian", "ubuntu", "redhat", "centos", "osv"),
        "vcpu_pinning": ("true", "false"),
        "fs_type": ("sharedfs", "ramdisk"),
        "hypervisor": ("kvm", "skvm", "qemu"),
        "iocm": ("true", "false"),
        "vrdma": ("true", "false"),
        "unclot": ("true", "false"),
    }
