"""Settings for watching guests while they run."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.fields import setting
from nornir_torque_vm.config.kinds import AbsPath, Bool, Choice
from nornir_torque_vm.config.submit import SubmitSettings

PROMETHEUS = "prometheus"


@dataclasses.dataclass(frozen=True)
class MonitoringSettings(SubmitSettings):
    """Whether jobs' guests are watched, and by what."""

    snap_monitoring_enabled: bool = setting(
        Bool(), False, "whether jobs are monitored, by what monitoring_backend says"
    )
    monitoring_backend: str = setting(
        Choice({PROMETHEUS: PROMETHEUS}),
        PROMETHEUS,
        "who monitors jobs: prometheus has a timer on each node write the guests' figures into textfile_dir",
    )
    textfile_dir: str = setting(
        AbsPath(),
        "/var/lib/prometheus/node-exporter",
        "directory on the nodes that Prometheus' node_exporter reads figures from (*.prom)",
    )

    @property
    def exports_metrics(self) -> bool:
        """Whether each node writes a file for Prometheus."""
        return self.snap_monitoring_enabled and self.monitoring_backend == PROMETHEUS
