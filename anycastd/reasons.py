"""Reason: every named reason, its sentence and its remedy.

A decision always has one of these; there is no empty reason.  The sentence says what is so, the
remedy what an operator can do about it (empty where nothing has to be done).
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """A named reason: ``.sentence`` says what is so, ``.remedy`` what to do (may be empty)."""

    SERVING = ("every rule holds", "")
    # what HAProxy shows
    TOO_FEW_SERVERS = (
        "a backend has too few usable servers to serve",
        "bring its servers back, or see HAProxy's log for why their checks fail",
    )
    BELOW_HEALTHY = (
        "it serves with fewer usable servers than `healthy` asks for",
        "bring the missing servers back",
    )
    BACKEND_MISSING = (
        "HAProxy has no backend of the name that a rule uses",
        "correct the name in the profile or in haproxy.cfg; `anycastd check` lists both",
    )
    FRONTEND_MISSING = (
        "HAProxy has no frontend of the name that a rule uses",
        "correct the name in the profile or in haproxy.cfg; `anycastd check` lists both",
    )
    FRONTEND_CLOSED = (
        "a frontend that a rule requires is not open",
        "enable the frontend in HAProxy (`enable frontend NAME` on its stats socket)",
    )
    HAPROXY_GONE = (
        "HAProxy is not running: its stats socket is missing or refuses",
        "start HAProxy, or correct `socket` in the profile",
    )
    HAPROXY_SILENT = (
        "HAProxy does not answer on its stats socket",
        "see whether HAProxy is stopped or stuck, and whether the agent may use the socket",
    )
    EVIDENCE_STALE = (
        "the newest look at HAProxy is too old to prove anything",
        "this should mend itself; if not, restart the agent and report it",
    )
    NOT_LOOKED = ("HAProxy has not been looked at yet", "")
    UNPROVED = (
        "servers are shown UP, but too few of their checks have run in this HAProxy worker",
        "wait for the first checks; servers without `check` can never be proved",
    )
    OVERLOADED = (
        "a queue or a number of sessions is above the limit that `healthy` sets",
        "see HAProxy's sessions and queues; it is never withdrawn for this alone",
    )
    MAINTENANCE = (
        "it is in maintenance: HAProxy's map has its entry",
        "when the work is done, take the entry away (`del map MAP KEY` on HAProxy's stats socket)",
    )
    MAP_MISSING = (
        "HAProxy does not have the map that `maintenance` names",
        "use the map in haproxy.cfg, by the very name that the profile has",
    )
    # what the self-test finds
    VIP_REFUSES = (
        "nobody listens on the VIP, whatever HAProxy's statistics say",
        "see HAProxy's `bind` lines: the VIP and the port of `self_test` must be among them",
    )
    VIP_FAILS = (
        "requests to the VIP get no proper answer",
        "ask the VIP yourself on this machine, and see HAProxy's log",
    )
    VIP_SLOW = (
        "requests to the VIP are not answered in time: slow, full or queueing",
        "see HAProxy's sessions and queues; it is never withdrawn for this alone",
    )
    NOT_TESTED = ("the VIP has not been tested yet", "")
    TEST_UNASKED = (
        "the self-test could not even ask the VIP",
        "see whether the VIP is on its interface, and what a local firewall does to it",
    )
    TEST_STALE = (
        "the newest self-test is too old to prove anything",
        "this should mend itself; if not, restart the agent and report it",
    )
    # the agent's own side
    VIP_MISSING = (
        "the VIP is not on its interface and could not be put there",
        "give the agent CAP_NET_ADMIN, or add the address yourself",
    )
    NO_SPEAKER = (
        "the speaker's lease process does not answer",
        "start the speaker (`systemctl status anycastd-speaker`)",
    )
    NO_SESSION = (
        "no BGP session is up, so a return begins at the longest path",
        "see the neighbors below; check addresses, ASNs and TCP port 179 both ways",
    )
    # an operator's word
    DRAINING = (
        "it is being drained: at the longest path, until the others have taken over",
        "`anycastd undrain` ends that",
    )
    DRAIN_WAITS = (
        "it is to be drained, and no other region is known to serve: it waits at the longest path",
        "bring another region back, or undrain and drain again with --force",
    )
    DRAINED = ("it is drained: withdrawn by an operator's word", "`anycastd undrain` ends that")
    # timers
    PROVING = ("it serves again, and is proving it before it is announced", "")
    RISING = ("it serves, and keeps the longest path until it has been well for `rise`", "")
    HOLD_DOWN = ("it failed a short time ago and is held at the longest path", "")
    SPACING = ("the last change of its route is too young for another one", "")
    MANUAL = (
        "it failed and serves again; its profile says that a person decides when it returns",
        "say `anycastd return`",
    )
    FALLING = ("it is below `healthy`, for less than `fall` so far", "")
    NOT_HEALTHY_LONG = ("it has not been healthy for `rise` yet", "")

    def __init__(self, sentence: str, remedy: str) -> None:
        self.sentence = sentence
        self.remedy = remedy
