"""What TORQUE said of a job when an attempt to start it began, kept with its history. Pure."""

from __future__ import annotations

import dataclasses
import json

from nornir_torque_vm.errors import RequestError, StateError
from nornir_torque_vm.request import Request, find_in_resources

VERSION = 1
"""Of the JSON form."""


@dataclasses.dataclass(frozen=True, slots=True)
class JobRecord:
    """One attempt. Everything but the times and the attempt is text a user could choose: hostile."""

    job_id: str
    attempt: int
    owner: str
    name: str
    queue: str
    resources: str
    """The job's Resource_List."""
    began: float
    """Seconds since the epoch."""

    def request(self) -> Request | None:
        """The request for guests that rides in the resources; None when there is none that can be read."""
        try:
            return find_in_resources(self.resources)
        except RequestError:
            return None

    def to_json(self) -> str:
        """Return it as one JSON object."""
        return json.dumps({"version": VERSION, **dataclasses.asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> JobRecord:
        """Read what :meth:`to_json` wrote.

        :raises StateError: the text is damaged or of another version.
        """
        try:
            raw = json.loads(text)
            if raw.pop("version") != VERSION:
                raise StateError("the record of the job has another form than this program reads")
            began, attempt = float(raw.pop("began")), int(raw.pop("attempt"))
            return cls(**{name: str(text) for name, text in raw.items()}, began=began, attempt=attempt)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"the record of the job cannot be read ({type(error).__name__})") from error
