"""Figures of guests and of their start as Prometheus has metrics. Pure.

Names after https://prometheus.io/docs/practices/naming/: base units, ``_total`` for what only grows. The
official library writes the text and escapes what stands in labels, so that no name of a user's breaks it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nornir_torque_vm.gueststats import GuestStats
from nornir_torque_vm.render.metadata import GuestRecord

GUEST_LABELS = ("job", "attempt", "user", "rank", "guest", "node")
JOB_LABELS = ("job", "attempt", "user", "node", "phase")
PREFIX = "torque_vm_"
_TOTAL = "_total"


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One metric of a guest; a name that ends in ``_total`` is a counter's."""

    name: str
    help: str
    value: Callable[[GuestStats], float | None]


GUEST_FIGURES = (
    Figure(
        "guest_cpu_seconds_total",
        "Processor time of the node that the guest and its emulator have used.",
        lambda one: one.cpu_seconds,
    ),
    Figure("guest_memory_bytes", "Memory of the node that the guest holds.", lambda one: one.memory),
    Figure("guest_memory_limit_bytes", "Memory the guest may use.", lambda one: one.memory_limit),
    Figure("guest_disk_read_bytes_total", "Read from the guest's disks.", lambda one: one.disk_read),
    Figure("guest_disk_written_bytes_total", "Written to the guest's disks.", lambda one: one.disk_written),
    Figure("guest_network_received_bytes_total", "Received by the guest.", lambda one: one.net_received),
    Figure("guest_network_sent_bytes_total", "Sent by the guest.", lambda one: one.net_sent),
)
OVERHEAD = "job_start_phase_seconds"
OVERHEAD_HELP = "What each phase of the start of the job's guests took, from its first begin to its last end."


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """How long the start of a job's guests took. ``node`` is the mother superior, which has the record."""

    job_id: str
    attempt: int
    owner: str
    node: str
    phases: Mapping[str, float]
    """Phase → seconds."""


def metric_names() -> frozenset[str]:
    """The names under which Prometheus finds what is written here."""
    return frozenset(f"{PREFIX}{name}" for name in (*(figure.name for figure in GUEST_FIGURES), OVERHEAD))


def metrics_text(guests: Sequence[tuple[GuestRecord, GuestStats]], starts: Iterable[Start] = ()) -> bytes:
    """Return the content of the file: UTF-8, in Prometheus' text format 0.0.4.

    What libvirt does not tell of a guest is left out. Two guests with the same labels would make the
    node_exporter drop the whole file: the later one counts.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(guests, tuple(starts)))
    return generate_latest(registry)


class _Found(Collector):
    """What was found, as the library asks for it."""

    def __init__(self, guests: Sequence[tuple[GuestRecord, GuestStats]], starts: Sequence[Start]) -> None:
        self._guests = {_guest_labels(record, stats): stats for record, stats in guests}
        self._starts = starts

    def collect(self) -> Iterator[Metric]:
        """Yield one metric after the other."""
        for figure in GUEST_FIGURES:
            family = _family(figure.name, figure.help, GUEST_LABELS)
            for labels, stats in self._guests.items():
                value = figure.value(stats)
                if value is not None:
                    family.add_metric(labels, value)
            yield family
        phases = _family(OVERHEAD, OVERHEAD_HELP, JOB_LABELS)
        for start in self._starts:
            for phase, seconds in start.phases.items():
                words = (start.job_id, str(start.attempt), start.owner, start.node, phase)
                phases.add_metric(words, seconds)
        yield phases


def _family(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily | GaugeMetricFamily:
    made = CounterMetricFamily if name.endswith(_TOTAL) else GaugeMetricFamily
    return made(f"{PREFIX}{name.removesuffix(_TOTAL)}", text, labels=labels)


def _guest_labels(record: GuestRecord, stats: GuestStats) -> tuple[str, ...]:
    return (
        record.job_id, str(record.attempt), record.owner, str(record.rank), record.guest, stats.node,
    )  # fmt: skip
