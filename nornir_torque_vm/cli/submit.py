"""``qsub`` for a lab without a TORQUE: what one would type there, made a job for the embedded driver."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from nornir_torque_vm.cli.asked import read_request, settled
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.driver.submitted import nodes_of, resources_of, submission_of
from nornir_torque_vm.errors import LabError, RequestError
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.wrapper.nodespec import NodeSpec
from nornir_torque_vm.wrapper.submission import Call, compose, find_requests

SETTINGS = "etc/torque-vm/settings.toml"


class Typed:
    """A job with guests as it is typed; what it asks for is read and found right as far as no site matters.

    :param words: qsub's options, with ``-vm``; a job without any gets the site's default guests.
    :param script: None for an interactive job without one.
    :raises RequestError: they, or the script's directives, cannot be.
    """

    def __init__(self, words: Sequence[str], script: Path | None, text: bytes) -> None:
        call = Call((*words, "-vm", ""), text)
        if script is not None:
            call = Call((*call.words, str(script.absolute())), text, script.name, "file")
        self.text, self.found = text, find_requests(call)
        fault = self.found.header.fault or self.found.plain.fault
        if fault:
            raise RequestError(fault)
        self.asked = read_request(self.found.texts)
        options = [*self.found.header.options, *self.found.plain.options]
        self.nodes: NodeSpec = nodes_of(resources_of(options))

    def submission(self, lab: Lab) -> Submission:
        """Return the job as the wrapper submits it, by the settings of the lab's nodes.

        :raises TorqueVMError: the site refuses it, or the driver cannot run it.
        """
        settings = site_settings(lab)
        made = compose(self.found, settled(self.asked, settings), settings)
        script = self.text if made.script is None else made.script
        return submission_of(made.words, script, lab.node_names)


def read_script(path: Path) -> bytes:
    """Return the text of a script.

    :raises LabError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise LabError(f"the script {path} cannot be read: {exc.strerror}") from exc


def site_settings(lab: Lab) -> Settings:
    """Return the settings that the lab's nodes have, with the image pool as it is found from here.

    :raises SettingsError: they cannot be used.
    """
    path = lab.root(lab.node_names[0]) / SETTINGS
    return dataclasses.replace(settings_module.load(str(path)), image_pool=str(lab.pool))
