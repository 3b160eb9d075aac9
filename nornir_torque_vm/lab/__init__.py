"""A cluster in a box: nodes with libvirt, ssh and DHCP in namespaces of one machine."""

from nornir_torque_vm.lab.cluster import Lab, NodeStatus
from nornir_torque_vm.lab.layout import LabNode

__all__ = ["Lab", "LabNode", "NodeStatus"]
