"""A TORQUE server that replays what TORQUE 6.1.3 answered, recorded, and keeps what it was asked and by whom.

Shell alone: these programs are run by a user who may not reach our Python. A job's course is the names of
the answers that one question after the other gets about it, the last one for good; ``qdel`` makes it
``deleted``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

from hook_kit import Site

from nornir_torque_vm.accounts import caller, owner_named
from nornir_torque_vm.model import Owner

DATA = Path(__file__).parent.parent / "data"
RECORDED = json.loads((DATA / "selftest/torque-6.1.3.json").read_text())
DOWN = json.loads((DATA / "qstat/torque-6.1.3.json").read_text())["down"]
OVER = {"completed", "refused", "deleted"}
GOOD = ("queued", "running", "completed")
FORGOTTEN = "forgotten"
"""An answer that is not in the file: of a job that the server does not know."""

COMMON = """#!/bin/sh
# stands for nornir_torque_vm.wrapper.qsub and TORQUE's commands
D={folder}
name=${{0##*/}}
echo "$name|$(id -u)|$(id -G)|$PWD|$HOME|$*" >>"$D/log"
"""
QSUB = """
while [ $# -gt 0 ]; do
  case $1 in
    nodes=*) node=${1#nodes=}; node=${node%%:*};;
    -o) o=$2;;
    -e) e=$2;;
  esac
  shift
done
cd "$D/$node" || exit 1
cat >script; echo "$o" >o; echo "$e" >e
cat submit.err >&2; cat submit.out; exit "$(cat submit.code)"
"""
QSTAT = """
[ "$1" = -B ] && exec cat "$D/server"
[ -e "$D/down" ] && { cat "$D/down" >&2; exit 1; }
shift 2
code=0
for id; do
  cd "$D/$(cat "$D/job-$id")" || exit 1
  step=$(cat step)
  [ -e deleted ] && step=deleted
  if [ -e "$step.over" ]; then
    [ -e out ] && cp out "$(cat o)"
    [ -e err ] && cp err "$(cat e)"
  fi
  if [ -e "$step.xml" ]; then cat "$step.xml"; else echo "qstat: Unknown Job Id Error $id" >&2; code=153; fi
  [ -e "$((step + 1)).answer" ] && echo $((step + 1)) >step
done
exit $code
"""
QDEL = """
for id; do touch "$D/$(cat "$D/job-$id")/deleted"; done
"""
PBSNODES = """
cat "$D/nodes"
"""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a command: who called it, from where, with which words."""

    name: str
    uid: int
    groups: tuple[int, ...]
    cwd: str
    home: str
    words: str


class Torque:
    """Such a server for the nodes of a site, and its user ``owner``, who has a home there.

    :param place: an empty directory that everybody may enter, unlike those of pytest.
    """

    def __init__(self, site: Site, place: Path) -> None:
        self.site, self.place, self.folder, self.home = site, place, place / "server", place / "home"
        for folder in (self.folder, self.home, place / "bin"):
            folder.mkdir()
        someone = owner_named("nobody") if os.geteuid() == 0 else caller()
        self.owner: Owner = dataclasses.replace(someone, home=str(self.home))
        if os.geteuid() == 0:
            os.chown(self.home, self.owner.uid, self.owner.gid)
        self.qsub = str(place / "bin/qsub")
        self.folder.chmod(0o777)
        self._next = 20
        self.program("qsub", QSUB)
        self.program("qstat", QSTAT)
        self.program("qdel", QDEL)
        self.program("pbsnodes", PBSNODES)
        self.write("server", RECORDED["server"]["out"])
        self.nodes()
        self.write("log", "").chmod(0o666)
        config = Path(site.settings.torque_home, "torque.cfg")
        config.write_text(f"SUBMITFILTER {place}/bin/submit-filter\n")
        kept = tomllib.loads(site.settings_file.read_text()) | {"real_qsub_on_nodes": self.qsub}
        site.settings_file.write_text(
            "".join(f"{key} = {json.dumps(value)}\n" for key, value in kept.items())
        )
        for node in site.nodes:
            self.course(node)

    def program(self, name: str, text: str) -> None:
        """Put one of its commands in place."""
        path = self.place / "bin" / name
        path.write_text(COMMON.format(folder=self.folder) + text)
        path.chmod(0o755)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def nodes(self, **states: str) -> None:
        """Say in which states nodes are; else as recorded: free."""
        text = str(RECORDED["pbsnodes"]["out"])
        for node, state in states.items():
            text = text.replace(f"<name>{node}</name><state>free<", f"<name>{node}</name><state>{state}<")
        self.write("nodes", text)

    def course(
        self, node: str, *answers: str, out: str | None = None, err: str = "", submit: str = "submit"
    ) -> str:
        """Say what will become of a node's job; return its id. Without a word all goes well.

        :param out: what it writes, with ``N`` for its number; "" for no file.
        """
        number, self._next = self._next, self._next + 1
        job_id, folder = f"{number}.head", self.folder / node
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        folder.chmod(0o777)
        entry = RECORDED[submit]
        (folder / "submit.out").write_text(f"{job_id}\n" if entry["out"] else "")
        (folder / "submit.err").write_text(entry["err"])
        (folder / "submit.code").write_text(str(entry["code"]))
        for step, name in [*enumerate(answers or GOOD, 1), ("deleted", "deleted")]:
            (folder / f"{step}.answer").touch()
            if name != FORGOTTEN:
                (folder / f"{step}.xml").write_text(about(name, job_id))
            if name in OVER:
                (folder / f"{step}.over").touch()
        (folder / "step").write_text("1")
        (folder / "step").chmod(0o666)
        text = RECORDED["output"]["out"].replace("j13-", "jN-") if out is None else out
        if text:
            (folder / "out").write_text(text.replace("jN-", f"j{number}-"))
        (folder / "err").write_text(err)
        self.write(f"job-{job_id}", node)
        return job_id

    def calls(self, *names: str) -> list[Call]:
        """Who called these commands."""
        rows = [line.split("|", 5) for line in (self.folder / "log").read_text().splitlines()]
        found = [
            Call(name, int(uid), tuple(map(int, groups.split())), cwd, home, words)
            for name, uid, groups, cwd, home, words in rows
        ]
        return [call for call in found if call.name in names and not call.words.startswith("-B")]

    def left(self) -> list[str]:
        """What is in the user's home."""
        return sorted(path.name for path in self.home.iterdir())


def about(name: str, job_id: str) -> str:
    """A recorded answer, as if it were about another job."""
    return re.sub(r"<Job_Id>[^<]*<", f"<Job_Id>{job_id}<", str(RECORDED[name]["out"]))


def words_of(calls: Sequence[Call]) -> list[list[str]]:
    """The words of calls."""
    return [call.words.split() for call in calls]
