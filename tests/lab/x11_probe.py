"""Run as root inside a node: the job starter of an interactive job with X11, and a display.

The guest is an OpenSSH server of this node, on 127.0.0.1; the display stands where a MOM makes one, on port
6050, and refuses everybody, as X servers do: with a reason. Arguments: the sshd, the user's name. Prints what
the job printed, the key by which it was let in, and the display's own.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from nornir_torque_vm.runstate.handover import HandOver, HandOverGuest

JOB = "7.head"
FOLDER = Path("/run/x11-probe")
RUN_DIR = FOLDER / "run"
REASON = b"seen by the display!"
CLIENT = f"""\
import os, socket, struct, subprocess
display = os.environ["DISPLAY"]
(line,) = subprocess.run(["xauth", "list", display], capture_output=True, text=True).stdout.splitlines()
name, key = line.split()[1].encode(), bytes.fromhex(line.split()[2])
port = 6000 + int(display.partition(":")[2].partition(".")[0])
with socket.create_connection(("127.0.0.1", port), 60) as server:
    head = struct.pack("<cxHHHHxx", b"l", 11, 0, len(name), len(key))
    server.sendall(head + name + bytes(-len(name) % 4) + key + bytes(-len(key) % 4))
    print(display, key.hex(), server.recv(8 + {len(REASON)}, socket.MSG_WAITALL)[8:].decode())
"""


def show(listener: socket.socket, keys: list[str]) -> None:
    """Be the display for one client: keep its key, refuse it."""
    client = listener.accept()[0]
    with client:
        *_, name, key = struct.unpack("<cxHHHHxx", client.recv(12, socket.MSG_WAITALL))
        sent = client.recv(name + -name % 4 + key + -key % 4, socket.MSG_WAITALL)
        keys.append(sent[name + -name % 4 :][:key].hex())
        client.sendall(struct.pack("<BBHHH", 0, len(REASON), 11, 0, len(REASON) // 4) + REASON)


def ssh_key(name: str) -> Path:
    path = FOLDER / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def serve(sshd: str, xauth: str) -> subprocess.Popen[bytes]:
    """Start the guest's ssh server; it may be used when this returns."""
    config = FOLDER / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nHostKey {FOLDER}/host\nAuthorizedKeysFile {FOLDER}/user.pub\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nX11Forwarding yes\nXAuthLocation {xauth}\n"
        "AddressFamily inet\n"  # the node has no ::1, without which sshd gives no display
    )
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=(FOLDER / "sshd.log").open("wb"))
    end = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", 22)):
        if time.monotonic() > end or server.poll() is not None:
            raise RuntimeError((FOLDER / "sshd.log").read_text())
        time.sleep(0.05)
    return server


def hand_over(user: pwd.struct_passwd) -> None:
    key, host = ssh_key("user"), ssh_key("host")
    given = HandOver(
        JOB, "tvm-7-a1-00000000", user.pw_name, (HandOverGuest("j7-r0", 0, "node", "127.0.0.1", 1),),
        key.read_text(), f"127.0.0.1 {host.with_suffix('.pub').read_text()}",
    )  # fmt: skip
    path = RUN_DIR / "handover" / JOB / "given"
    path.parent.mkdir(parents=True)
    path.write_text(given.to_json())
    path.chmod(0o400)
    os.chown(path, user.pw_uid, user.pw_gid)


def main() -> None:
    sshd, name, xauth = sys.argv[1:]
    user = pwd.getpwnam(name)
    FOLDER.mkdir(mode=0o755)
    hand_over(user)
    keys: list[str] = []
    key = secrets.token_hex(16)
    as_user = ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups"]
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": user.pw_dir, "SHELL": "/bin/bash", "PBS_JOBID": JOB, "TERM": "xterm",
        "PBS_ENVIRONMENT": "PBS_INTERACTIVE", "DISPLAY": "localhost:50.0",
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 6050)) as listener:
        threading.Thread(target=show, args=(listener, keys), daemon=True).start()
        add = ["xauth", "-q", "add", "unix:50.0", "MIT-MAGIC-COOKIE-1", key]  # as a MOM does
        subprocess.run([*as_user, *add], env=environment, check=True, stderr=subprocess.DEVNULL)
        server = serve(sshd, xauth)
        try:
            ours, theirs = os.openpty()
            (FOLDER / "client.py").write_text(CLIENT)
            starter = [sys.executable, "-I", "-m", "nornir_torque_vm.hooks.job_starter", str(RUN_DIR), "00"]
            task = ["/bin/bash", "-c", f"python3 -I {FOLDER}/client.py"]
            done = subprocess.run(
                [*as_user, *starter, *task], env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
                cwd=user.pw_dir, timeout=120, check=False,
            )  # fmt: skip
            os.close(theirs)
            said = os.read(ours, 65536).decode()
        finally:
            server.terminate()
            server.wait()
            shutil.rmtree(FOLDER)
    print(json.dumps({"status": done.returncode, "said": said, "seen": keys, "key": key}), flush=True)


if __name__ == "__main__":
    main()
