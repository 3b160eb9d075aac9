"""Whether a node can run a guest's machine: what libvirt's domain capabilities mean."""

from __future__ import annotations

import pytest

from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.machine.offer import lacking

CAPABILITIES = """<domainCapabilities><path>/usr/bin/qemu-system-x86_64</path><domain>qemu</domain>
<machine>pc-q35-7.2</machine><arch>x86_64</arch><cpu>
<mode name='host-passthrough' supported='no'/>
<mode name='maximum' supported='yes'><enum name='maximumMigratable'/></mode>
<mode name='host-model' supported='yes'><model fallback='forbid'>EPYC</model></mode>
<mode name='custom' supported='yes'>
<model usable='yes' vendor='unknown'>qemu64</model>
<model usable='no' vendor='Intel'>Icelake-Server</model>
<model usable='unknown' vendor='Intel'>Penryn</model>
</mode></cpu></domainCapabilities>"""


@pytest.mark.parametrize("cpu", ["", "maximum", "host-model", "qemu64", "Penryn"])
def test_a_processor_that_is_offered_is_not_lacking(cpu: str) -> None:
    """Nor is one of which the emulator does not tell."""
    assert lacking(CAPABILITIES, cpu) == ""


@pytest.mark.parametrize(
    ("cpu", "said"),
    [
        ("host-passthrough", "processor model host-passthrough is not supported"),
        ("Icelake-Server", "processor model Icelake-Server cannot be had here"),
        ("EPYC", "there is no processor model EPYC"),
        ("maximun", "there is no processor model maximun"),
    ],
)
def test_a_processor_that_is_not_offered_is_named(cpu: str, said: str) -> None:
    """A mode, a model that this machine cannot be, and one that nobody knows."""
    assert lacking(CAPABILITIES, cpu) == said


def test_what_is_no_xml_is_an_error_of_the_hypervisor() -> None:
    """Not a traceback."""
    with pytest.raises(HypervisorError, match="not XML"):
        lacking("<domainCapabilities>", "maximum")
