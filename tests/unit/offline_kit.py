"""A server of three nodes behind a pbsnodes that answers and refuses as that of TORQUE 6.1.3 (measured)."""

from __future__ import annotations

import sys
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.pbsnodes import Pbsnodes

PROGRAM = """#!{python} -I
import json, pathlib, sys
from xml.sax.saxutils import escape
path = pathlib.Path({path!r})
nodes = json.loads(path.read_text())
words = sys.argv[1:]
if words == ["-x"]:
    rows = (f"<Node><name>{{n}}</name><state>{{s}}</state>" + (f"<note>{{escape(t)}}</note>" if t else "")
            + "</Node>" for n, (s, t) in nodes.items())
    print("<Data>" + "".join(rows) + "</Data>", end="")
elif {right!r}:
    nodes[words[-1]] = ["free,offline", words[2]] if words[0] == "-o" else ["free", ""]
    path.write_text(json.dumps(nodes))
else:
    print(f"Error setting note attribute for {{words[-1]}} - Unauthorized Request", file=sys.stderr)
"""


class Server:
    """That server.

    :param right: whether it takes our word.
    """

    def __init__(self, folder: Path, *, right: bool = True) -> None:
        self.path = folder / "server.json"
        self.path.write_text('{"node1": ["free", ""], "node2": ["free", ""], "node3": ["free", ""]}')
        self.program = folder / "server-bin/pbsnodes"
        self.program.parent.mkdir()
        self.allow(right=right)
        self.qsub = str(self.program.with_name("qsub"))

    def allow(self, *, right: bool) -> None:
        """Take our word, or do not any more."""
        self.program.write_text(PROGRAM.format(python=sys.executable, path=str(self.path), right=right))
        self.program.chmod(0o755)

    def ask(self) -> Pbsnodes:
        """Our way to ask it."""
        return Pbsnodes(str(self.program), Deadline.after(20))

    def out(self) -> dict[str, str]:
        """Notes of the nodes that are offline."""
        return {name: one.note for name, one in self.ask().states().items() if one.offline}
