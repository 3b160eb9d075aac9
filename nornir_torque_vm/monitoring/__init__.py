"""What guests of this node use while they run, for Prometheus: one file for the node_exporter.

Nothing runs along with a job: a timer calls ``torque-vm metrics``, which asks libvirt what there is.
"""
