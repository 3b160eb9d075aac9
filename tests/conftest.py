"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says something about the machine's other work, not about the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
