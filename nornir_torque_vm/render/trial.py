"""All templates filled in with a sample, so that a broken one is found before a job needs it."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from jinja2 import TemplateError
from jinja2.meta import find_referenced_templates

from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import SettingsError, TorqueVMError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import Image, Job, JobKeys, KeyPair, Node, Owner, UserFiles
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.render.cloudinit.sitefile import site_metadata
from nornir_torque_vm.render.cloudinit.userdata import user_data
from nornir_torque_vm.render.domain import TEMPLATE, GuestVolumes, domain_xml
from nornir_torque_vm.render.templates import BUILT_IN, environment, refuse_exposed, template_error
from nornir_torque_vm.request import Request

VALIDATOR = "virt-xml-validate"
"""Checks XML by the schemas of the libvirt that is installed; it calls xmllint."""
VALIDATE_SECONDS = 30.0
"""Time it may take for one file."""
_OWNER = Owner("user", 1000, 1000, "users", "/home/user")
_POOL = "/srv/torque-vm/images"
_IMAGES = (
    Image("image.qcow2", f"{_POOL}/image.qcow2"),
    Image("image.qcow2", f"{_POOL}/image.qcow2", backing=(f"{_POOL}/base.qcow2",)),
)
_VOLUMES = GuestVolumes("/v/guest.qcow2", "/v/guest-seed.iso", "/v/guest-console.log")


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One template: its path, the sentence about what is wrong with it, and whether nothing uses it."""

    path: str
    problem: str = ""
    unused: bool = False


def try_templates(settings: Settings) -> Iterator[Trial]:
    """Fill in the built-in templates and those of the site; yield what became of each.

    :raises SettingsError: the site's directory cannot be used.
    """
    own = settings.template_dir
    names = _own_names(own) if own else ()
    yield Trial(str(BUILT_IN / TEMPLATE), _domain(dataclasses.replace(settings, template_dir="")))
    used = {TEMPLATE}
    problems = {name: _compiled(name, own, used) for name in names}
    for name, problem in problems.items():
        filled = _domain(settings) if name == TEMPLATE and not problem else ""
        yield Trial(f"{own}/{name}", problem or filled, unused=name not in used)


def try_seed(settings: Settings) -> None:
    """Make what a sample guest would be told, the site's own cloud-init settings with it.

    :raises SettingsError: these cannot be used.
    """
    plain = dataclasses.replace(settings, disabled_hosts_list=Hosts(""), user_files=UserFiles.NONE)
    job = Job("1.server", "server", _OWNER)
    plan = make_plan(Request(), plain, job, [Node("node")], _IMAGES[0])
    pair = KeyPair("private", "public")
    keys = JobKeys(pair, pair, {guest.name: pair for guest in plan.guests})
    user_data(plan, plan.guests[0], keys, "", settings, site_metadata(settings.metadata_file))


def _own_names(own: str) -> tuple[str, ...]:
    try:
        refuse_exposed(own)
        return tuple(sorted(path.name for path in Path(own).iterdir() if not path.name.startswith(".")))
    except OSError as error:
        raise SettingsError(f"template_dir: {own} cannot be read: {error.strerror}") from None


def _compiled(name: str, own: str, used: set[str]) -> str:
    """Compile one template of the site, add what it refers to; return what is wrong with it."""
    try:
        environment(own).get_template(name)
        source = Path(own, name).read_text(encoding="utf-8")
        used.update(filter(None, find_referenced_templates(environment(own).parse(source))))
    except TorqueVMError as error:
        return str(error)
    except TemplateError as error:
        return str(template_error(error, own))
    return ""


def _domain(settings: Settings) -> str:
    """What is wrong with the domain XML of sample guests, one of each kind."""
    settings = dataclasses.replace(settings, disabled_hosts_list=Hosts(""))
    job = Job("1.server", "server", _OWNER)
    validator = shutil.which(VALIDATOR) if shutil.which("xmllint") else None
    seen: set[str] = set()
    offered = [name for name in KEYS["hypervisor"].kind.choices if name != "skvm" or settings.skvm_emulator]
    for hypervisor, image in itertools.product(offered, _IMAGES):
        try:
            plan = make_plan(Request(hypervisor=hypervisor), settings, job, [Node("node")], image)
            text = domain_xml(plan, plan.guests[0], _VOLUMES, settings)
        except TorqueVMError as error:
            return str(error)
        problem = _not_well_formed(text)
        if validator and not problem and text not in seen:
            problem = _invalid(text, validator)
        if problem:
            return f"for hypervisor={hypervisor} it gives {problem}"
        seen.add(text)
    return ""


def _not_well_formed(text: str) -> str:
    try:
        ET.fromstring(text)  # noqa: S314 - made by root's own template
    except ET.ParseError as error:
        return f"no well-formed XML: {error}"
    return ""


def _invalid(text: str, validator: str) -> str:
    try:
        done = subprocess.run(
            [validator, "-", "domain"], input=text, capture_output=True, text=True,
            timeout=VALIDATE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no verdict
    if done.returncode == 0:
        return ""
    place = re.search(r"Extra element (\S+) in interleave", done.stderr)
    if place:  # all that xmllint says of whatever is wrong further down
        return f"XML that libvirt refuses: something in <{place[1]}> is wrong"
    said = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
    return f"XML that libvirt refuses: {said[0].removeprefix('-:')}"
