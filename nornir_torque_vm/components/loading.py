"""From the name of a component to the component: ours by module, those of other packages by entry point.

Entry points are looked up only for names that the setting ``components`` states, one at a time: what every
installed package declares is read from disk for it (3 ms with 61 packages).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from nornir_torque_vm.components.base import GROUP, Component
from nornir_torque_vm.config.components import SWITCHES
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULES: Mapping[str, str] = MappingProxyType(
    {name: f"nornir_torque_vm.components.{name}" for name in SWITCHES}
)
"""Our components → the module whose ``component`` makes it; a setting switches each on."""


def load(name: str, settings: Settings) -> Component:
    """Return the component of this name, made for these settings.

    :raises SettingsError: no package has it, or it cannot be used; says which and why.
    """
    try:
        if name in MODULES:
            found: Any = importlib.import_module(MODULES[name]).component(settings)
        else:
            found = _offered(name).load()(settings)
    except SettingsError:
        raise
    except Exception as error:  # whatever another package raises when it is imported
        why = f"{type(error).__name__}: {error}"
        raise SettingsError(f"the component {name} cannot be loaded: {why}", hint=_HINT) from error
    if not isinstance(found, Component) or found.name != name or not 0 < found.share <= 1:
        what = f"the component {name} is none: its entry point returned {type(found).__name__}"
        if isinstance(found, Component):
            what = f"the component {name} calls itself {found.name}, with a share of {found.share}"
        raise SettingsError(what, hint=_HINT)
    return found


def load_all(settings: Settings) -> tuple[Component, ...]:
    """Return every component the site has switched on, in the order of the settings.

    :raises SettingsError: one cannot be loaded.
    """
    return tuple(load(name, settings) for name in settings.switched_on())


_HINT = "mend its package, or take it out of the setting components"


def _offered(name: str) -> Any:
    """The entry point of that name.

    :raises SettingsError: no package has one, or two have.
    """
    from importlib.metadata import entry_points

    found = tuple(dict.fromkeys(entry_points(group=GROUP, name=name)))
    if len(found) != 1:
        who = "no installed package has" if not found else f"{len(found)} installed packages have"
        raise SettingsError(
            f"{who} a component {name}",
            hint=f"install one that declares it in {GROUP}, or take it out of the setting components",
        )
    return found[0]
