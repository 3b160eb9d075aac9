"""Killing the shell part of a hook at a chosen command, from outside of it.

bash runs the hook as it is and tells of every command before it runs it, in subshells too. Programs that are
given several files get them one by one, so that a kill also comes between two of them.
"""

from __future__ import annotations

ALL, ONE = "0", "$BASHPID"
"""Who is killed: the hook with its subshells, as by a MOM; the one that acts, as for want of memory."""
_WORDS = r"""
killed_each() {
    local program=$1 option=$2 file
    shift 2
    for file; do command "$program" "$option" "$file" || return; done
}
mkdir() { killed_each mkdir "$@"; }
chmod() { killed_each chmod "$@"; }
rm() { killed_each rm "$@"; }
trap '
    case $BASH_COMMAND in
    killed_each* | local* | shift* | for* | mkdir* | chmod* | rm* | .*) ;;
    *)
        printf . >>EVENTS
        read -r killed_count <EVENTS || :
        [ "${#killed_count}" -ne AT ] || kill -KILL WHOM
        ;;
    esac
' DEBUG
. "$0"
"""


def killing_shell(events: str, at: int = 0, whom: str = ALL) -> list[str]:
    """Words that stand before a hook and its arguments, in a process group of their own.

    :param events: file that gets a byte for each command; nothing in its path needs quotes.
    :param at: number of the command to be killed before, from 1; 0 for none.
    """
    text = _WORDS.replace("EVENTS", events).replace("AT", str(at)).replace("WHOM", whom)
    return ["bash", "-T", "-c", text]
