"""``python -m nornir_torque_vm.cli`` is ``torque-vm``."""

from nornir_torque_vm.cli import main

main()
