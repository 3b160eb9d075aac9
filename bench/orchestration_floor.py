"""The floor of ``orchestration.py``: a process that imports what any Nornir program for libvirt imports."""

import jinja2  # noqa: F401 - the imports are the purpose
import libvirt  # noqa: F401
import nornir  # noqa: F401
