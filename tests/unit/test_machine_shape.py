"""The shape of guests: what request and settings make of it."""

from __future__ import annotations

import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.machine.shape import shape_of
from nornir_torque_vm.request import Request

SITE = Settings(
    emulator="/usr/bin/qemu-system-{arch}",
    skvm_emulator="/opt/skvm/bin/qemu",
    machine_type="pc-q35-7.2",
    cpu_model="EPYC-Rome",
    cpu_model_emulated="qemu64",
)


@pytest.mark.proves("skvm_emulator", "cpu_model")
@pytest.mark.parametrize(
    ("hypervisor", "domain_type", "emulator", "cpu"),
    [
        ("kvm", "kvm", "/usr/bin/qemu-system-i686", "EPYC-Rome"),
        ("skvm", "kvm", "/opt/skvm/bin/qemu", "EPYC-Rome"),
        ("qemu", "qemu", "/usr/bin/qemu-system-i686", "qemu64"),
    ],
)
def test_the_hypervisor_decides_domain_type_emulator_and_processor(
    hypervisor: str, domain_type: str, emulator: str, cpu: str
) -> None:
    """The site's skvm is kvm with another emulator; libvirt knows no such type."""
    shape = shape_of(Request(hypervisor=hypervisor, arch="i686"), SITE)
    assert (shape.domain_type, shape.emulator, shape.cpu) == (domain_type, emulator, cpu)
    assert shape.machine == "pc-q35-7.2"


@pytest.mark.parametrize("hypervisor", ["kvm", "qemu"])
def test_what_the_site_does_not_say_is_left_to_libvirt_and_the_renderer(hypervisor: str) -> None:
    """Empty settings, empty fields."""
    shape = shape_of(Request(hypervisor=hypervisor), Settings())
    assert (shape.emulator, shape.machine, shape.cpu) == ("", "", "")


def test_skvm_without_an_emulator_of_the_site_is_refused() -> None:
    """Rather than silently the plain kvm."""
    with pytest.raises(RequestError) as caught:
        shape_of(Request(hypervisor="skvm"), Settings(emulator="/usr/bin/qemu"))
    assert str(caught.value) == (
        "hypervisor=skvm is not offered: the site names no emulator for it; ask for hypervisor=kvm"
    )
