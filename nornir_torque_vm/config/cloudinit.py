"""Settings for what cloud-init makes of a guest's system: names, time, software, and what users may add."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, Choice, Text
from nornir_torque_vm.config.listkinds import DIRECTORY, Many
from nornir_torque_vm.config.machine import MachineSettings
from nornir_torque_vm.nodefile import HOST_PATTERN

_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ADDRESS = rf"{_BYTE}(?:\.{_BYTE}){{3}}|(?=.*:)[0-9a-fA-F:]{{2,39}}"
PACKAGE = r"[A-Za-z0-9](?:[A-Za-z0-9+._-]{0,98}[A-Za-z0-9+_])?(?<!\.deb)(?<!\.rpm)"
"""A package by its name alone: a file's could be a user's own, and apt removes what has a dash at its end."""
SAFE_KEYS = ("locale", "packages", "timezone")
"""Keys of cloud-init that make nobody root, with the values that nodes let through."""
ROOT_KEYS = ("bootcmd", "runcmd", "write_files")
"""Keys by which whoever sets them is root in the guest."""
_NTP = Text(f"{HOST_PATTERN}|{_ADDRESS}", "a host name or an IP address", empty=True)
_PACKAGES = Many(Text(PACKAGE, "the name of a package"), most=64)


@dataclasses.dataclass(frozen=True)
class CloudInitSettings(MachineSettings):
    """What guests are told beside their names, accounts and addresses."""

    domain: str = setting(
        Text(HOST_PATTERN, "a domain name", empty=True),
        "",
        "domain of the guests' host names; empty: search_domain",
    )
    search_domain: str = setting(
        Text(HOST_PATTERN, "a domain name", empty=True),
        "",
        "domain in which guests look for short names; empty: domain",
    )
    name_server: tuple[str, ...] = setting(
        Many(Text(_ADDRESS, "an IP address"), most=3),
        (),
        "name servers that guests ask, in place of those DHCP names; empty: those",
    )
    ntp_server_1: str = setting(_NTP, "", "time server of the guests, by NTP; empty: their image decides")
    ntp_server_2: str = setting(_NTP, "", "another time server of the guests; empty: none")
    sw_packages_debian: tuple[str, ...] = setting(
        _PACKAGES, (), "packages that guests of Debian's family install at boot; mostly better in the image"
    )
    sw_packages_redhat: tuple[str, ...] = setting(
        _PACKAGES, (), "packages that guests of Red Hat's family install at boot; mostly better in the image"
    )
    package_update: bool = setting(
        Bool(), False, "whether guests read the lists of packages anew before they install any"
    )
    software_dirs: tuple[str, ...] = setting(
        Many(Text(f"{DIRECTORY}={DIRECTORY}", "/DIRECTORY=/DIRECTORY-IN-GUESTS")),
        (),
        "directories of the nodes that guests have at another path, read-only, such as /opt=/opt-hpc; "
        "they come as user_files says",
    )
    metadata_file: str = setting(
        AbsPath(empty=True),
        "",
        "file with more cloud-init settings for all guests, root's alone; empty: none",
    )
    metadata_keys: tuple[str, ...] = setting(
        Many(Choice({key: key for key in (*SAFE_KEYS, *ROOT_KEYS)})),
        ("locale", "timezone"),
        "settings of cloud-init that users may add with metadata; with bootcmd, runcmd or write_files they "
        "are root in their guests, and get no files by nfs or virtiofs",
    )

    def packages_of(self, family: str) -> tuple[str, ...]:
        """The packages for guests of a family (``debian``, ``redhat``); none for others."""
        return {"debian": self.sw_packages_debian, "redhat": self.sw_packages_redhat}.get(family, ())

    @property
    def host_domain(self) -> str:
        """The domain of the guests' full names; may be empty."""
        return self.domain or self.search_domain

    @property
    def ntp_servers(self) -> tuple[str, ...]:
        """The time servers that are there."""
        return tuple(filter(None, dict.fromkeys((self.ntp_server_1, self.ntp_server_2))))
