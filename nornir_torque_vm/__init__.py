"""Batch jobs of a TORQUE cluster inside fresh virtual machines, driven by Nornir.

This module imports nothing, so that the qsub wrapper and the hooks pay only for what they use:
import the part you need (``nornir_torque_vm.tasks``, ``nornir_torque_vm.inventory`` …).
"""

__version__ = "0.1.0"
