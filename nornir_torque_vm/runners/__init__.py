"""Nornir runner plugins: ``deadline``."""
