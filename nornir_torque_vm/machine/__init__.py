"""The virtual machine a guest is: what settings and request make of it, and whether a node can run it."""
