"""Guests of OSv: no accounts, no ssh, one program in one address space, driven by its REST interface."""
