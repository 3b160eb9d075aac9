"""Settings of the components beside the guests: I/O cores, remote and shared memory, monitoring."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.devices import DeviceSettings
from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, Choice, HostRegex, Hosts, Text, Words
from nornir_torque_vm.config.listkinds import Many
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.keys import CORES, KEYS
from nornir_torque_vm.model import Distro

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nornir_torque_vm.components.base import OnFailure

_NAME = r"[a-z][a-z0-9_]{0,31}"
SWITCHES = {
    "iocm": "iocm_enabled",
    "vrdma": "vrdma_enabled",
    "unclot": "unclot_enabled",
    "monitoring": "snap_monitoring_enabled",
}
"""Components of ours → the setting that switches each on."""
OURS = frozenset({"iocm", "vrdma", "unclot", "monitoring"})
"""Names that no other package's component may have."""


@dataclasses.dataclass(frozen=True)
class ComponentSettings(DeviceSettings):
    """Which components there are, where, and what jobs get that do not say."""

    iocm_enabled: bool = setting(Bool(), False, "whether jobs may have processors kept for input and output")
    iocm_backend: str = setting(
        Choice({"iothreads": "iothreads", "dim": "dim"}),
        "iothreads",
        "what works on them: threads of libvirt's guests, or the earlier system's dynamic I/O manager",
    )
    iocm_dim_dir: str = setting(
        AbsPath(empty=True), "", "directory on every node with that manager's programs (its src); empty: none"
    )
    iocm_dim_interface: str = setting(
        Text(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}(?:,[A-Za-z0-9_][A-Za-z0-9_.-]{0,14})?",
             "the name of a network interface, or two with a comma between"),
        "ib0",
        "network interface of the nodes that the guests' traffic goes through, for that manager",
    )  # fmt: skip
    iocm_nodes: Hosts = setting(  # noqa: RUF009 - it returns a dataclass field
        HostRegex(), Hosts("*"), "nodes that can keep processors for input and output"
    )
    iocm_min_cores: int = setting(CORES, 0, "least processors a job may have kept")
    iocm_max_cores: int = setting(CORES, 7, "most processors a job may have kept")
    iocm_enabled_default: bool = setting(Bool(), False, "whether jobs that do not say have processors kept")
    iocm_min_cores_default: int = setting(CORES, 1, "processors kept at least for jobs that do not say")
    iocm_max_cores_default: int = setting(CORES, 4, "processors kept at most for jobs that do not say")
    unclot_enabled: bool = setting(
        Bool(), False, "whether guests of a node may share memory for communication"
    )
    unclot_distros: tuple[Distro, ...] = setting(
        Words({distro.value: distro for distro in Distro}),
        (Distro.OSV,),
        "families of operating systems whose guests can use it",
    )
    unclot_default: bool = setting(Bool(), False, "whether guests of jobs that do not say share memory")
    unclot_shmem_default: int = setting(
        KEYS["unclot_shmem"].kind, 1 << 30, "size of that shared memory; rounded up to a power of two"
    )
    components: tuple[str, ...] = setting(
        Many(Text(_NAME, "the name of a component")),
        (),
        "components of other installed packages that jobs have, by the names of their entry points",
    )
    component_failure: tuple[str, ...] = setting(
        Many(Text(rf"{_NAME}=(?:abort|warn)", "NAME=abort or NAME=warn")),
        (),
        "components whose failure ends a job's start (NAME=abort), or is one line in the log (NAME=warn)",
    )
    on_disabled: str = setting(
        Choice({"ignore": "ignore", "refuse": "refuse"}),
        "ignore",
        "what becomes of a job that asks for a component the site has switched off",
    )

    def switched_on(self) -> tuple[str, ...]:
        """Names of all components that jobs here may have, ours first."""
        ours = [name for name, switch in SWITCHES.items() if getattr(self, switch)]
        if self.exports_metrics:  # by a timer, not along with jobs
            ours.remove("monitoring")
        return (*ours, *self.components)

    def require_distinct_components(self) -> None:
        """Refuse foreign components with the name of one of ours, and a back end that lacks its programs.

        :raises SettingsError: one is called so.
        """
        if self.iocm_enabled and self.iocm_backend == "dim" and not self.iocm_dim_dir:
            raise SettingsError("iocm_backend is dim and there is no iocm_dim_dir", hint="name it")
        for name in self.components:
            if name in OURS:
                raise SettingsError(
                    f"components has {name}, which is one of this package's own",
                    hint=f"switch that on with {SWITCHES.get(name, f'{name}_enabled')}",
                )

    def on_component_failure(self, name: str, usual: OnFailure) -> OnFailure:
        """What becomes of a job when this component fails.

        :param usual: what the component itself says.
        """
        stated = {f"{name}={one.value}": one for one in type(usual)}
        return next((stated[text] for text in self.component_failure if text in stated), usual)
