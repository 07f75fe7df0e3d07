"""Every metric of ``/metrics``: its name, type, labels and meaning (pure).

docs/metrics.md is written from it.  Names and labels follow Prometheus' conventions: base units,
``_total`` for counters, and instants as Unix time, from which a query takes the age.  Values of
labels are names of the profile, addresses, versions and names of the code: never text of others.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from anycastd.decision.levels import CapSource, Level

PREFIX = "anycastd_"
"""Beginning of each name."""


class MetricType(Enum):
    """Type of a metric, as Prometheus calls it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class MetricSpec(NamedTuple):
    """A metric: its whole name, its type, its labels, and its meaning as a sentence."""

    name: str
    type: MetricType
    labels: tuple[str, ...]
    meaning: str


class MetricGroup(NamedTuple):
    """Metrics about one subject, in their order on the page."""

    title: str
    metrics: tuple[MetricSpec, ...]


def _gauge(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(PREFIX + name, MetricType.GAUGE, labels, meaning)


def _counter(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(PREFIX + name, MetricType.COUNTER, labels, meaning)


def _histogram(name: str, meaning: str, *labels: str) -> MetricSpec:
    return MetricSpec(PREFIX + name, MetricType.HISTOGRAM, labels, meaning)


_LEVEL = ("service", "vip", "level")
_SERVICE = ("service", "vip")
_RULE = ("service", "rule")
_HOP = ("service", "vip", "next_hop")

GROUPS = (
    MetricGroup(
        "Agent",
        (
            _gauge(
                "build_info",
                "1; the versions of anycastd and ExaBGP, the region, and the first 8 digits of "
                "the SHA-256 of the profile",
                "version",
                "exabgp",
                "region",
                "profile",
            ),
            _gauge("start_time_seconds", "when this agent started"),
            _gauge("severity", "what `anycastd status` ends with: 0 ok, 1 warning, 2 critical"),
            _gauge("problems", "what `anycastd status` lists as not as wanted, counted"),
            _counter("events_total", "events that were logged (see the messages)", "kind"),
            _gauge("last_pass_timestamp_seconds", "when the newest decision was made"),
            _histogram("pass_duration_seconds", "what one decision on all services took"),
            _histogram("loop_lag_seconds", "how late the agent's loop ran what was due"),
            _counter(
                "stalled_seconds_total",
                "for how long the process did not run: a paused machine, or no CPU",
            ),
            _gauge("metrics_cpu_seconds", "what it took to build the answer before this one"),
        ),
    ),
    MetricGroup(
        "Services",
        (
            _gauge(
                "service_level",
                "1 for the level whose route the neighbors have, else 0; all are 0 while the "
                "speaker does not answer",
                *_LEVEL,
            ),
            _gauge("service_wanted_level", "1 for the level that was decided, else 0", *_LEVEL),
            _gauge(
                "service_serving",
                "1 while it is announced to a neighbor, and `serve` is not false",
                *_SERVICE,
            ),
            _gauge(
                "service_in_sync", "1 while every neighbor has the route that is wanted", *_SERVICE
            ),
            _gauge(
                "service_prepends",
                "prepends of the wanted route; absent while it is withdrawn",
                *_SERVICE,
            ),
            _gauge(
                "service_level_since_timestamp_seconds", "since when the wanted level is", *_SERVICE
            ),
            _gauge(
                "service_next_hop",
                "1 for the next hop by choice of the wanted route, else 0; all are 0 while it is "
                "withdrawn",
                *_HOP,
            ),
            _gauge(
                "service_next_hop_serving",
                "1 if this next hop serves by its own rules, 0 if not, NaN while unknown",
                *_HOP,
            ),
            _gauge("service_capped", "1 while this cap limits the level, else 0", "service", "cap"),
            _gauge(
                "service_capped_until_timestamp_seconds",
                "when the lowest cap ends by itself; absent where time alone does not end it",
                *_SERVICE,
            ),
            _gauge(
                "service_failures", "failures in a row, which lengthen the hold-down", *_SERVICE
            ),
            _gauge("service_drained", "1 while a drain covers it", *_SERVICE),
            _gauge(
                "service_drain_since_timestamp_seconds",
                "since when a drain covers it; absent without one",
                *_SERVICE,
            ),
            _gauge(
                "service_safe_to_reboot",
                "1 while it is drained, and no session is left or the wait for them is over",
                *_SERVICE,
            ),
            _gauge(
                "service_sessions",
                "open sessions at the frontends that its rules name; absent where not known",
                *_SERVICE,
            ),
            _gauge("service_vip_present", "1 while the VIP is on its interface", *_SERVICE),
            _counter(
                "service_transitions_total",
                "changes of level, with the name of the reason",
                "service",
                "from",
                "to",
                "reason",
            ),
            _histogram(
                "reaction_seconds",
                "what each stage of a change of level took; a step up waits for its timers before "
                "it is decided",
                "stage",
                "direction",
            ),
        ),
    ),
    MetricGroup(
        "Rules",
        (
            _gauge("rule_true", "1 if the rule is true, 0 if false, NaN while unknown", *_RULE),
            _gauge("rule_servers_usable", "servers of its backend that count", *_RULE),
            _gauge("rule_servers", "servers of its backend that a share is of", *_RULE),
            _gauge(
                "rule_servers_needed",
                "servers that it needs; absent where it compares weights",
                *_RULE,
            ),
        ),
    ),
    MetricGroup(
        "Neighbors and routes",
        (
            _gauge("neighbor_up", "1 while the BGP session is up", "neighbor", "peer_as"),
            _gauge(
                "neighbor_since_timestamp_seconds",
                "since when the session is up or down",
                "neighbor",
            ),
            _gauge(
                "neighbor_hold_time_seconds",
                "the hold time that both ends agreed on; absent while the session is down",
                "neighbor",
            ),
            _counter("neighbor_losses_total", "sessions that closed", "neighbor"),
            _gauge("neighbor_routes_wanted", "routes that are wanted there", "neighbor"),
            _gauge(
                "neighbor_routes_acknowledged", "routes that ExaBGP has acknowledged", "neighbor"
            ),
            _gauge(
                "neighbor_routes_in_rib",
                "routes in ExaBGP's adj-rib-out; NaN while it was not read, or differs",
                "neighbor",
            ),
        ),
    ),
    MetricGroup(
        "HAProxy",
        (
            _gauge("haproxy_up", "1 while it answers on its stats socket", "haproxy"),
            _gauge("haproxy_event_driven", "1 while its events arrive, 0: it is polled", "haproxy"),
            _gauge(
                "haproxy_evidence_timestamp_seconds",
                "when its newest complete answer was asked for",
                "haproxy",
            ),
            _counter("haproxy_looks_total", "looks, by what they found", "haproxy", "outcome"),
            _histogram("haproxy_look_duration_seconds", "what a look took", "haproxy"),
            _counter("haproxy_events_total", "lines of its event stream", "haproxy"),
        ),
    ),
    MetricGroup(
        "Checks",
        (
            _gauge(
                "check_passing",
                "1 while it passes, 0 while it fails or has no result; NaN while it is not known",
                "check",
            ),
            _gauge("check_step", "step of a load, from 0 on", "check"),
            _gauge(
                "check_evidence_timestamp_seconds",
                "when its newest run that saw something began",
                "check",
            ),
        ),
    ),
    MetricGroup(
        "Lease",
        (
            _gauge("lease_connected", "1 while the speaker's lease process answers"),
            _gauge("lease_ttl_seconds", "after so long without a renewal all routes go"),
            _gauge("lease_renewed_timestamp_seconds", "when it was renewed last"),
            _counter("lease_renewals_total", "renewals: one for each decision"),
            _histogram(
                "lease_renewal_lateness_seconds",
                "how long after a quarter of the lease it was renewed: at three quarters it "
                "expires",
            ),
            _counter(
                "lease_expirations_total",
                "how often it expired, and all routes were withdrawn, since the speaker's start",
            ),
            _counter(
                "lease_repairs_total",
                "routes that differed in ExaBGP, and were corrected, since the speaker's start",
            ),
        ),
    ),
)
"""All metrics, in the order of docs/metrics.md."""

METRICS = {metric.name: metric for group in GROUPS for metric in group.metrics}
"""Name of a metric -> what it is."""

LABELS = {
    "cap": ", ".join(f"`{source.label}`" for source in CapSource),
    "check": "name of a check in the profile",
    "direction": "`up`, `down`: whether the new level is higher",
    "exabgp": "version of ExaBGP, or empty",
    "from": "as `level`",
    "haproxy": "name of an HAProxy in the profile",
    "kind": "kind of an event, such as `transition`",
    "level": ", ".join(f"`{level.label}`" for level in sorted(Level, reverse=True)),
    "neighbor": "address of a neighbor",
    "next_hop": "address of a next hop by choice",
    "outcome": "`answered`, `gone`, or why an answer cannot be used, as named in reasons.md",
    "peer_as": "AS number of the neighbor",
    "profile": "first digits of the profile's hash",
    "reason": "name of a reason, as in reasons.md",
    "region": "name of this region",
    "rule": "place of the rule in its service's part of the profile, such as `serve.all[0]`",
    "service": "name of a service",
    "stage": "`evidence_to_decision`, `decision_to_sent`, `sent_to_acknowledged`",
    "to": "as `level`",
    "version": "version of anycastd",
    "vip": "prefix of the VIP",
}
"""Label -> its values, for docs/metrics.md."""
