"""What a VM job will be: the request, the site's defaults and limits, and where each value comes from.

Pure. The request that rides in the job holds what the user asked for and the site lets count; nodes
add their own defaults, by the same settings.
"""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import Distro
from nornir_torque_vm.request import Request, parse_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nornir_torque_vm.config.settings import Settings

    Values = dict[str, tuple[Any, str]]
    """Key → value and where it comes from."""

COMMAND_LINE = "command line"
NOT_ASKED = "not asked for"
SWITCHED_OFF = "switched off by the site"
CATALOGUE = "image catalogue"
FILE_NAME = "file name"

_COMPONENTS = (
    ("iocm", "iocm_enabled", ("iocm", "iocm_min_cores", "iocm_max_cores")),
    ("vrdma", "vrdma_enabled", ("vrdma",)),
    ("unclot", "unclot_enabled", ("unclot", "unclot_shmem")),
)
"""Key that asks for a component, setting that switches it on, all of its keys."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of the image a job will boot; ``distro_origin`` is an origin as in messages."""

    name: str
    """Its name in the pool, or the absolute path of the user's own."""
    distro: Distro = Distro.DEBIAN
    distro_origin: str = FILE_NAME
    arch: str | None = None
    """What the image catalogue says."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resolved:
    """Every key's value, None when there is none, and its origin: what ``--explain`` shows."""

    values: dict[str, tuple[Any, str]]
    request: Request
    """What rides in the job."""
    warnings: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key."""
        return self.values[key][0]


def script_line(line: int) -> str:
    """Return the origin of what stands in line ``line`` of the script."""
    return f"script line {line}"


def located(error: RequestError, origin: str) -> RequestError:
    """Return ``error`` so that it says in which line of the script the cause stands."""
    what = error.what if origin == COMMAND_LINE else f"{origin}: {error.what}"
    return RequestError(what, hint=error.hint)


def gather(texts: Iterable[tuple[str, str]]) -> Values:
    """Return what the values of all ``-vm`` options ask for, the last one wins per key.

    :param texts: origin and value of each, the script's before the command line's.
    :raises RequestError: an unknown key or a bad value, and where it stands.
    """
    asked: Values = {}
    for origin, text in texts:
        try:
            request = parse_request([text])
        except RequestError as error:
            raise located(error, origin) from None
        for key in KEYS:
            if (value := getattr(request, key.name)) is not None:
                asked[key.name] = value, origin
    return asked


def resolve(asked: Values, settings: Settings, image: ImageFacts) -> Resolved:
    """Return what the job will be.

    :param asked: as :func:`gather` returns it, files already read.
    :raises RequestError: more than the site allows, or values that contradict each other.
    :raises SettingsError: defaults of the site that contradict its own limits.
    """
    asked, off, ignored = _without_components(asked, settings)
    values: Values = {key.name: (None, NOT_ASKED) for key in KEYS}
    for key in KEYS:
        if key.default_from:
            values[key.name] = getattr(settings, key.default_from), f"setting {key.default_from}"
    values.update(asked)
    values.update(off)
    if "img" not in asked:
        values["img"] = image.name, values["img"][1]
    values["distro"] = image.distro, values["distro"][1] if "distro" in asked else image.distro_origin
    asked = _arch_of_image(asked, values, image)
    _check_unclot(asked, values, settings)
    _check_shape(values, settings)
    _check_ramdisk(values, settings)
    _check_iocm(values, settings)
    request = Request(**{key: value for key, (value, _) in asked.items()})
    return Resolved(values, request, tuple(ignored))


def _without_components(asked: Values, settings: Settings) -> tuple[Values, Values, list[str]]:
    """What is left without the components the site has switched off, what their keys are, and warnings."""
    left, warnings = dict(asked), list[str]()
    off: Values = {}
    for component, switch, keys in _COMPONENTS:
        if getattr(settings, switch):
            continue
        off.update({key: (False if key == component else None, SWITCHED_OFF) for key in keys})
        gone = {key: left.pop(key) for key in keys if key in left}
        wanted = [key for key, (value, _) in gone.items() if value is not False]
        if wanted and settings.on_disabled == "refuse":
            raise located(
                RequestError(
                    f"{wanted[0]} was asked for, but the site has switched {component} off",
                    hint=f"leave {' and '.join(wanted)} away",
                ),
                gone[wanted[0]][1],
            )
        if wanted:
            warnings.append(f"the site has switched {component} off: {_assignments(gone, wanted)} is ignored")
    return left, off, warnings


def _assignments(values: Values, keys: Iterable[str]) -> str:
    """``key=value`` of some keys, as a user writes them."""
    return ",".join(f"{key}={KEYS[key].kind.text(values[key][0])}" for key in keys)


def _arch_of_image(asked: Values, values: Values, image: ImageFacts) -> Values:
    """Take the architecture the catalogue states, which then rides in the job too."""
    if image.arch is None:
        return asked
    if "arch" not in asked:
        values["arch"] = image.arch, CATALOGUE
        return {**asked, "arch": values["arch"]}
    if asked["arch"][0] != image.arch:
        raise located(
            RequestError(
                f"arch={asked['arch'][0]} contradicts the image, which is {image.arch} ({CATALOGUE})",
                hint=f"leave arch away, or write arch={image.arch}",
            ),
            asked["arch"][1],
        )
    return asked


def _check_unclot(asked: Values, values: Values, settings: Settings) -> None:
    """Some guests only can share memory; a default for it does not concern the others."""
    if not values["unclot"][0] or values["distro"][0] in settings.unclot_distros:
        return
    able = " and ".join(settings.unclot_distros)
    if "unclot" in asked:
        distro, origin = values["distro"]
        error = RequestError(
            f"unclot works in {able} guests only, and the image is {distro} ({origin})",
            hint="leave unclot away, or choose another image",
        )
        raise located(error, asked["unclot"][1])
    values["unclot"] = False, f"for {able} guests only"


def _check_shape(values: Values, settings: Settings) -> None:
    guests, origin = values["vms_per_node"]
    if guests > settings.max_vms_per_node:
        error = RequestError(
            f"vms_per_node is {guests}, and the site allows {settings.max_vms_per_node} guests on a node",
            hint="ask for more nodes with fewer guests each",
        )
        raise located(error, origin)
    hypervisor, origin = values["hypervisor"]
    if hypervisor == "skvm" and not settings.skvm_emulator:
        raise located(
            RequestError(
                "hypervisor is skvm, and the site names no emulator for it", hint="ask for hypervisor=kvm"
            ),
            origin,
        )


def _check_ramdisk(values: Values, settings: Settings) -> None:
    """Disks in memory are offered where the site has said where."""
    kind, origin = values["fs_type"]
    if kind != "ramdisk" or settings.ramdisk_dir:
        return
    sentence = "the site has no disks in memory"
    if origin.startswith("setting"):
        raise SettingsError(f"{origin} is ramdisk, but {sentence}", hint="set ramdisk_dir")
    error = RequestError(f"fs_type=ramdisk is not offered: {sentence}", hint="ask for fs_type=sharedfs")
    raise located(error, origin)


def _check_iocm(values: Values, settings: Settings) -> None:
    """The processors kept for input and output: least before most, both within the site's limits."""
    if not values["iocm"][0]:
        return
    least, most = settings.iocm_min_cores, settings.iocm_max_cores
    for key in ("iocm_min_cores", "iocm_max_cores"):
        if not least <= values[key][0] <= most:
            raise _iocm_error(values, (key,), f"is not within the site's limits, {least} to {most}")
    if values["iocm_min_cores"][0] > values["iocm_max_cores"][0]:
        most, origin = values["iocm_max_cores"]
        raise _iocm_error(
            values, ("iocm_min_cores", "iocm_max_cores"), f"is more than iocm_max_cores={most} ({origin})"
        )


def _iocm_error(values: Values, keys: tuple[str, ...], why: str) -> RequestError | SettingsError:
    """The user's error if one of ``keys`` was asked for, else the site's; the first one is the subject."""
    value, origin = values[keys[0]]
    sentence = f"{keys[0]}={value} ({origin}) {why}"
    if all(values[key][1].startswith("setting") for key in keys):
        return SettingsError(sentence, hint="torque-vm config check looks at all settings")
    return RequestError(sentence)
