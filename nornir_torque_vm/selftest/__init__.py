"""The self-test of a site with a TORQUE: a real job with a guest on each node, and what became of it."""
