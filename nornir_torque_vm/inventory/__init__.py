"""Nornir inventories of nodes and guests: from a batch job, from a plan, from what libvirt says exists."""
