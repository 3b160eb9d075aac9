"""Settings for watching guests while they run."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, Choice, Text
from nornir_torque_vm.config.submit import SubmitSettings

PROMETHEUS, SNAP = "prometheus", "snap"


@dataclasses.dataclass(frozen=True)
class MonitoringSettings(SubmitSettings):
    """Whether jobs' guests are watched, and by what."""

    snap_monitoring_enabled: bool = setting(
        Bool(), False, "whether jobs are monitored, by what monitoring_backend says"
    )
    monitoring_backend: str = setting(
        Choice({PROMETHEUS: PROMETHEUS, SNAP: SNAP}),
        PROMETHEUS,
        "who monitors jobs: prometheus has a timer on each node write the guests' figures into textfile_dir; "
        "snap has its daemon run a task for each job",
    )
    textfile_dir: str = setting(
        AbsPath(),
        "/var/lib/prometheus/node-exporter",
        "directory on the nodes that Prometheus' node_exporter reads figures from (*.prom)",
    )

    snap_bin_dir: str = setting(AbsPath(), "/usr/local/bin", "directory of snaptel on the nodes, for snap")
    snap_tag_format: str = setting(
        Text(r"[A-Za-z0-9._\[\]-]{1,100}", "letters, digits and ._-, with [username] and [jobid]"),
        "snapTask-[username]-[jobid]",
        "what snap marks the figures of a job with",
    )
    snap_task: str = setting(
        AbsPath(empty=True),
        "",
        "what snap's task does (JSON) on a job's first node, without passwords; empty: that of the site kit",
    )

    @property
    def exports_metrics(self) -> bool:
        """Whether each node writes a file for Prometheus."""
        return self.snap_monitoring_enabled and self.monitoring_backend == PROMETHEUS
