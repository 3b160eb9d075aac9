"""Settings of the hooks beside the guests' own: what the site's hooks may take, and the safety net."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.guests import GuestSettings
from nornir_torque_vm.config.kinds import Seconds


@dataclasses.dataclass(frozen=True)
class HookSettings(GuestSettings):
    """What hooks share with the site. Times in seconds."""

    site_hook_timeout: float = setting(
        Seconds(1, 86_400),
        60.0,
        "time the site's own prologue has in a VM job's prologue, as far as the guests' time lets it",
    )
    sister_grace: float = setting(
        Seconds(1, 86_400),
        600.0,
        "time after a job's end in which its first node removes the guests, before the other nodes do it "
        "themselves; longer than prologalarm",
    )
