"""Nornir tasks: one effect each, usable alone from a plain ``InitNornir`` script.

On nodes: :func:`survey`, :func:`list_guests`, :func:`guest_stats`, :func:`destroy`, :func:`mark_job`,
:func:`hand_over`, :func:`forget_job`. On guests: :func:`boot_guest`, which is :func:`prepare_image`,
:func:`start_guest`, :func:`discover_address` and :func:`check_health`; then :func:`mount_files`,
:func:`mount_disk`, :func:`publish_roster`, :func:`run_guest_script`, :func:`close_folders`,
:func:`unmount_disk`, :func:`read_console`, :func:`read_cloud_init`, and :func:`destroy` for one guest.

All take their time from the deadline of the ``deadline`` runner; under another runner those that
wait would wait for ever.
"""

from nornir_torque_vm.tasks.boot_guest import boot_guest
from nornir_torque_vm.tasks.check_health import check_health
from nornir_torque_vm.tasks.close_folders import close_folders
from nornir_torque_vm.tasks.destroy import destroy
from nornir_torque_vm.tasks.discover_address import discover_address
from nornir_torque_vm.tasks.forget_job import forget_job
from nornir_torque_vm.tasks.guest_stats import guest_stats
from nornir_torque_vm.tasks.hand_over import hand_over
from nornir_torque_vm.tasks.list_guests import list_guests
from nornir_torque_vm.tasks.mark_job import mark_job
from nornir_torque_vm.tasks.mount_disk import mount_disk
from nornir_torque_vm.tasks.mount_files import mount_files
from nornir_torque_vm.tasks.prepare_image import prepare_image
from nornir_torque_vm.tasks.publish_roster import publish_roster
from nornir_torque_vm.tasks.read_cloud_init import read_cloud_init
from nornir_torque_vm.tasks.read_console import read_console
from nornir_torque_vm.tasks.run_guest_script import run_guest_script
from nornir_torque_vm.tasks.start_guest import start_guest
from nornir_torque_vm.tasks.survey import survey
from nornir_torque_vm.tasks.unmount_disk import unmount_disk

__all__ = [
    "boot_guest",
    "check_health",
    "close_folders",
    "destroy",
    "discover_address",
    "forget_job",
    "guest_stats",
    "hand_over",
    "list_guests",
    "mark_job",
    "mount_disk",
    "mount_files",
    "prepare_image",
    "publish_roster",
    "read_cloud_init",
    "read_console",
    "run_guest_script",
    "start_guest",
    "survey",
    "unmount_disk",
]
