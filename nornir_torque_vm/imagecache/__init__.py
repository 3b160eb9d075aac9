"""Copies of the pool's images on each node, made once per digest; no start waits for one."""
