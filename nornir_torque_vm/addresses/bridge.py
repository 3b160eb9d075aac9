"""Which bridge the cards of a job's guests are on: as the settings say it, and as it is on this node."""

from __future__ import annotations

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.cloudinit.metadata import user_is_root
from nornir_torque_vm.threads import Call

PATIENCE = 5.0
"""Seconds that this node's libvirt has to name the bridge of a network; it takes milliseconds."""
THREAD = "ask for the bridge of a network"


def network_of(plan: Plan, settings: Settings) -> str:
    """The libvirt network of a plan's guests; empty when they are on a bridge that the settings name.

    Never where the user is root in them: their card is where the site has said.
    """
    return "" if user_is_root(plan) else settings.network


def bridge_of(plan: Plan, settings: Settings) -> str:
    """The bridge that the settings name for a plan's guests: another one where the user is root in them."""
    return settings.user_image_bridge if user_is_root(plan) else settings.bridge


def bridge_here(plan: Plan, settings: Settings, deadline: Deadline) -> str:
    """The bridge of a plan's guests on this node: that of their libvirt network, if they are on one."""
    return _of_network(network_of(plan, settings), settings, deadline) or bridge_of(plan, settings)


def bridges_here(settings: Settings, deadline: Deadline) -> tuple[str, ...]:
    """All bridges of this node that guests may be on, without knowing whose they are."""
    usual = _of_network(settings.network, settings, deadline) or settings.bridge
    return tuple(dict.fromkeys(name for name in (usual, settings.user_image_bridge) if name))


def _of_network(name: str, settings: Settings, deadline: Deadline) -> str:
    """What this node's libvirt says is the bridge of a network; empty when it does not, or for no network."""
    if not name:
        return ""
    call = Call(lambda: _asked(settings.local_uri, name), name=THREAD).start()
    try:
        return call.wait(deadline.clamp(PATIENCE))
    except TimeoutError:
        call.abandon()
    except TorqueVMError:  # the settings name one, too
        pass
    return ""


def _asked(uri: str, name: str) -> str:
    from nornir_torque_vm.connections.libvirt import lease, mapped

    with lease(uri) as conn, mapped():
        return str(conn.networkLookupByName(name).bridgeName())
