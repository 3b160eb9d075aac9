"""Debian's cloud-init, asked about documents: a program of its own, run by Debian's Python.

Argument: where cloud-init is unpacked. Reads a JSON object a line and answers with a line of JSON:
``{"user-data": TEXT}`` with what is wrong with it, ``{"network": TEXT, "renderer": NAME, "distro": NAME}``
with the files that cloud-init writes of it, by path.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import yaml  # type: ignore[import-untyped]
from cloudinit import distros  # type: ignore[import-not-found]
from cloudinit.config import schema  # type: ignore[import-not-found]
from cloudinit.net import (  # type: ignore[import-not-found]
    eni,
    netplan,
    network_manager,
    network_state,
    networkd,
    sysconfig,
)

RENDERERS = {
    "eni": eni, "netplan": netplan, "networkd": networkd, "network-manager": network_manager,
    "sysconfig": sysconfig,
}  # fmt: skip
SCHEMA = schema.get_schema()


def judged(text: str) -> str:
    """What the schema says against user-data; empty when nothing."""
    if not text.startswith("#cloud-config\n"):
        return "does not begin with #cloud-config"
    try:
        schema.validate_cloudconfig_schema(yaml.safe_load(text), SCHEMA, strict=True)
    except schema.SchemaValidationError as error:
        return str(error)
    return ""


def rendered(text: str, kind: str, distro: str) -> dict[str, str]:
    """What ``cloud-init devel net-convert`` writes, by path."""
    config = dict(distros.fetch(distro)(distro, {}, None).renderer_configs.get(kind) or {})
    if kind == "netplan":
        config.update(postcmds=False, netplan_path=config["netplan_path"][1:], features=[])
    renderer = RENDERERS[kind].Renderer(config=config)
    state = network_state.parse_net_config_data(yaml.safe_load(text), renderer=renderer)
    with tempfile.TemporaryDirectory() as place:
        renderer.render_network_state(network_state=state, target=f"{place}/")
        found = [path for path in Path(place).rglob("*") if path.is_file()]
        return {str(path.relative_to(place)): path.read_text() for path in found}


for line in sys.stdin:
    asked = json.loads(line)
    answer = (
        judged(asked["user-data"])
        if "user-data" in asked
        else rendered(asked["network"], asked["renderer"], asked["distro"])
    )
    print(json.dumps(answer), flush=True)
