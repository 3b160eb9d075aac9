"""Nornir connection plugins: ``libvirt``, ``node_shell`` and ``guest_ssh``.

The modules import libvirt, netmiko and paramiko only when a connection is opened, because
``InitNornir`` loads every installed plugin whether it is used or not.
"""
