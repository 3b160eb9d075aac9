"""More cloud-init settings: those of a site for all guests, and those a user adds to a job. Pure.

What a user may add is a list of the site's. Keys that would make the user root in a guest are possible where
that does no harm: such a guest is then trusted no more than one of the user's own image.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from nornir_torque_vm.config.cloudinit import PACKAGE, ROOT_KEYS
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.encode import json_line
from nornir_torque_vm.userfiles import USER_ROOT

if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings

LISTS = ("bootcmd", "packages", "runcmd", "write_files")
"""Keys whose lists are joined: ours first, then the site's, then the user's."""
_TEXTS = {
    "timezone": re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}"),
    "locale": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}"),
}
_PACKAGE, _VERSION = re.compile(PACKAGE), re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~^_-]{0,99}")
_MOST = 64
"""Entries of a list that a user may add."""


def check_added(added: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Make sure that a user may add these settings.

    :param allowed: the keys the site allows (``metadata_keys``).
    :raises RequestError: a key is not allowed, or its value is not let through; names the key.
    """
    for key, value in added.items():
        if key not in allowed:
            raise RequestError(
                f"the metadata file has the key {show(key)}, which users may not set here",
                hint=f"allowed are {', '.join(allowed) or 'none at all'}",
            )
        pattern = _TEXTS.get(key)
        if pattern is not None:
            if not isinstance(value, str) or not pattern.fullmatch(value):
                _refuse(key, value, "a name such as Europe/Berlin or en_US.UTF-8")
        elif not isinstance(value, list) or not 1 <= len(value) <= _MOST:
            _refuse(key, value, f"a list of 1 to {_MOST} entries")
        elif key == "packages" and not all(map(_is_package, value)):
            _refuse(key, value, "names of packages, or [name, version]")


def with_metadata(plan: Plan, added: Mapping[str, Any], settings: Settings) -> Plan:
    """Return the plan with what its owner adds, which went through :func:`check_added`.

    :raises RequestError: it makes the owner root in guests that have files which root there could misuse.
    :raises SettingsError: it makes the owner root, and the site has not said where such guests are to be.
    """
    if not added:
        return plan
    rootly = sorted(added.keys() & set(ROOT_KEYS))
    if rootly and not settings.user_image_bridge:
        raise SettingsError(
            f"metadata_keys has {' and '.join(rootly)}, by which users are root in guests, and no bridge is "
            "named for these",
            hint="set user_image_bridge",
        )
    if rootly and plan.user_files not in USER_ROOT:
        raise RequestError(
            f"the metadata file has {' and '.join(rootly)}: guests in which you are root get no files by "
            f"{plan.user_files}, and would not have your home",
            hint="leave it out",
        )
    return dataclasses.replace(plan, added=json_line(added))


def merged(own: Mapping[str, Any], site: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything together: lists joined, and beside them no key of ours replaced.

    :param user: went through :func:`check_added`; where the site has the same key, the user's counts.
    :raises SettingsError: the site's file sets what is ours to set.
    """
    result = dict(own)
    for added in (site, user):
        for key, value in added.items():
            if key in LISTS:
                earlier = result.get(key, [])
                result[key] = [*earlier, *(one for one in value if key != "packages" or one not in earlier)]
            elif key in own:
                raise SettingsError(
                    f"metadata_file sets {show(key)}, which is set here already", hint="take it out there"
                )
            else:
                result[key] = value
    return result


def user_is_root(plan: Plan) -> bool:
    """Whether the owner of the plan's job is root in its guests: by the image, or by what they add."""
    return plan.image.own or not added_in(plan).keys().isdisjoint(ROOT_KEYS)


def added_in(plan: Plan) -> dict[str, Any]:
    """Return what the plan's owner adds."""
    added: dict[str, Any] = json.loads(plan.added) if plan.added else {}
    return added


def _is_package(value: object) -> bool:
    if isinstance(value, str):
        return _PACKAGE.fullmatch(value) is not None
    if not isinstance(value, list) or [type(one) for one in value] != [str, str]:
        return False
    return bool(_PACKAGE.fullmatch(value[0]) and _VERSION.fullmatch(value[1]))


def _refuse(key: str, value: object, wanted: str) -> NoReturn:
    raise RequestError(f"the metadata file has {show(value)} for {key}, which must be {wanted}")
