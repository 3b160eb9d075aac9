"""Which operating system family an image has, when several may tell, and whether jobs may boot it."""

from __future__ import annotations

from nornir_torque_vm.errors import Blame, RequestError
from nornir_torque_vm.model import Distro

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings


def settle_distro(
    key: Distro | None, catalogue: Distro | None, name: Distro | None, default: Distro
) -> tuple[Distro, str]:
    """Return the family and where it comes from, in words.

    The first that is known counts: the user's key, the image catalogue, the image's file name, the
    site's default. The catalogue may correct a file name; the user may correct neither of them.

    :raises RequestError: the key contradicts what the catalogue, else the file name, says.
    """
    told, teller = (catalogue, "the image catalogue") if catalogue else (name, "its file name")
    if key and told and key is not told:
        raise RequestError(
            f"distro={key} contradicts the image, which is {told} by {teller}",
            hint=f"leave distro away, or write distro={told}",
        )
    if key:
        return key, "asked for"
    if told:
        return told, teller
    return default, "setting distro_default"


def check_family(distro: Distro, settings: Settings, *, asked: bool = True) -> None:
    """Refuse an image of a family that the site has no guests of.

    :param asked: whether the job asked for the image or for its family.
    :raises RequestError: it is one; the site's fault if nobody asked.
    """
    if distro is Distro.OSV and not settings.allow_osv:
        raise RequestError(
            "this site runs no guests of OSv",
            hint="choose another image, or ask the site",
            blame=Blame.USER if asked else Blame.SITE,
        )
