"""A cluster in a box: nodes with libvirt, ssh and DHCP in namespaces of one machine."""

from nornir_torque_vm.lab.cluster import Lab
from nornir_torque_vm.lab.layout import HEAD, LabNode
from nornir_torque_vm.lab.status import NodeStatus
from nornir_torque_vm.lab.torque import torque_missing

__all__ = ["HEAD", "Lab", "LabNode", "NodeStatus", "torque_missing"]
