"""Whether the components that the site has switched on can be had on this node."""

from __future__ import annotations

import os
from collections.abc import Iterator

from nornir_torque_vm.doctor.model import Here, Line, fail, failed, ok
from nornir_torque_vm.errors import SettingsError

DIM = ("create_configuration_file.py", "start_io_manager.py", "stop_io_manager.py")
"""The dynamic I/O manager's programs."""


def components(here: Here) -> Iterator[Line]:
    """One line for each; none while all are switched off."""
    names = here.settings.switched_on()
    if not names:
        return
    from nornir_torque_vm.components.loading import load

    for name in names:
        subject = f"component {name}"
        try:
            load(name, here.settings)
        except SettingsError as error:
            yield failed(subject, error)
            continue
        missing = list(_missing(here)) if name == "iocm" and here.settings.iocm_backend == "dim" else []
        if missing:
            cure = "install the dynamic I/O manager there, or set iocm_backend = iothreads"
            yield fail(subject, f"{missing[0]} is no program", cure)
        else:
            yield ok(subject, "there is all that it needs to be loaded")


def _missing(here: Here) -> Iterator[str]:
    paths = (f"{here.settings.iocm_dim_dir}/{name}" for name in DIM)
    return (path for path in paths if not os.access(path, os.X_OK))
