"""What a MOM runs: the prologue, the epilogue and the job starter of VM jobs.

Each module is started as ``python -I -m nornir_torque_vm.hooks.<name>`` by the small shell file of
the same name in the site kit's ``hooks/``.
"""
