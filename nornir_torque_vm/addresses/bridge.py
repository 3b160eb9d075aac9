"""Which bridge the cards of a job's guests are on."""

from __future__ import annotations

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.cloudinit.metadata import user_is_root


def bridge_of(plan: Plan, settings: Settings) -> str:
    """The bridge of the guests' network: another one where the user is root in them."""
    return settings.user_image_bridge if user_is_root(plan) else settings.bridge
