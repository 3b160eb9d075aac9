"""Parameters of the earlier system's ``config.sh`` that are no settings any more, and why."""

from __future__ import annotations

_OWN = "was a variable of the earlier system's own"
_LOG = "has no counterpart: the events of every job are kept in history_dir"
_NFS = "became part of nfs_sources, each with the directory of the nodes that it is"
_ONE_DEADLINE = "has no counterpart: one deadline holds for everything, timeout"

REASONS = {
    **dict.fromkeys(
        (
            "ABSOLUTE_PATH_CONFIG", "LIB_LOG4BSH", "TRACE", "DEBUG", "KEEP_VM_ALIVE", "SHARED_FS_JOB_DIR",
            "RAMDISK", "PBS_QSUB", "SSH_OPTS", "SCP_OPTS", "VIRSH_OPTS", "FILESYSTEM_TYPE_SFS",
            "FILESYSTEM_TYPE_RD",
        ),
        _OWN,
    ),
    **dict.fromkeys(
        (
            "DEBUG_DEFAULT", "TRACE_DEFAULT", "SHOW_LOG_DEFAULT", "PRINT_TO_STDOUT", "ABORT_ON_ERROR",
            "LOG_ROTATE", "LOG_FILE", "LOG_LEVEL", "MAX_LOG_SIZE", "MEASURE_TIME",
        ),
        _LOG,
    ),
    **dict.fromkeys(("SSH_TIMEOUT", "PROLOGUE_TIMEOUT", "NFS_TIMEOUT"), _ONE_DEADLINE),
    **dict.fromkeys(("VM_NFS_HOME", "VM_NFS_WS"), _NFS),
    "VM_NFS_OPT": "became part of nfs_sources, and of software_dirs for its place in guests",
    "REGEX_FE": "became server_hostname, one host name: the host that real_qsub_on_server is for",
    "SUSPENDED_IMAGE_DIR": "has no counterpart: guests are not suspended",
    "WS_DIR": "has no counterpart: images are not copied; guests' disks live in volume_dir on their node",
    "ARP_BIN": "has no counterpart: address_sources says who is asked for addresses",
    "MAC_PREFIX": "has no counterpart: MAC addresses follow from the job and are never the same twice",
    "KILL_USER_PROCESSES_AFTER_JOB": "has no counterpart: what belongs to a user's other jobs is let alone",
    "ENABLE_DEV_MODE": "has no counterpart: root runs nothing of a user's",
}  # fmt: skip
"""Name → the end of a sentence that begins with it."""
