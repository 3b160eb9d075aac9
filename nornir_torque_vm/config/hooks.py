"""Settings of the hooks beside the guests' own: site hooks' time, the safety net, faulty nodes."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.cloudinit import CloudInitSettings
from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, Int, Seconds


@dataclasses.dataclass(frozen=True)
class HookSettings(CloudInitSettings):
    """What hooks share with the site. Times in seconds."""

    site_hook_timeout: float = setting(
        Seconds(1, 86_400),
        60.0,
        "time the site's own prologue has in a VM job's prologue, as far as the guests' time lets it",
    )
    guest_prologue: str = setting(
        AbsPath(empty=True),
        "",
        "script of the site's that root runs in each guest before the user's vm_prologue; empty: none",
    )
    guest_epilogue: str = setting(
        AbsPath(empty=True),
        "",
        "script of the site's that root runs in each guest after the user's vm_epilogue; empty: none",
    )
    guest_script_timeout: float = setting(
        Seconds(1, 86_400),
        60.0,
        "time each script has in the guests, the site's or the user's, as far as the hook's time lets it",
    )
    allow_user_disks: bool = setting(
        Bool(),
        True,
        "whether a job may bring a disk of its owner's (disk), whose file system a guest's kernel reads",
    )
    shutdown_timeout: float = setting(
        Seconds(1, 86_400),
        30.0,
        "time the guest with the user's disk has to let go of it and shut down, at most half of what is left",
    )
    console_file: bool = setting(
        Bool(),
        True,
        "whether the owner of a job whose guests failed gets what they said last, in a file beside the job's "
        "output",
    )
    sister_grace: float = setting(
        Seconds(1, 86_400),
        600.0,
        "time after a job's end in which its first node removes the guests, before the other nodes do it "
        "themselves; longer than prologalarm",
    )
    offline_after: int = setting(
        Int(0, 100),
        3,
        "how many failed starts take a node out (pbsnodes -o); a good one counts it anew; 0: never",
    )
    offline_within: float = setting(Seconds(60, 604_800), 3600.0, "time within which these count")
    max_offline_nodes: int = setting(
        Int(1, 10_000),
        3,
        "how many nodes may be out that way at the same time; when more fail, what they share is at fault",
    )
