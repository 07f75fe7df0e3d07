"""Reason: every named reason, its sentence and its remedy.

Each decision has one reason.  The sentence says what is the case.  The remedy says what an operator
can do, or why there is nothing to do; only that of SERVING is empty.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """A named reason for a level, with text for operators.

    ``sentence`` says what is the case.  ``remedy`` says what to do; that of SERVING is empty.
    """

    SERVING = ("every rule is true", "")
    # from HAProxy
    TOO_FEW_SERVERS = (
        "a backend has too few usable servers to serve",
        "bring its servers back, or see HAProxy's log for why their checks fail",
    )
    SERVERS_REFUSE = (
        "servers that HAProxy still counts cannot be reached: the agent asked them by TCP",
        "bring them back: each counts once HAProxy's check of it has passed (docs/asking.md)",
    )
    BELOW_HEALTHY = (
        "there are fewer usable servers than `healthy` asks for",
        "bring the missing servers back",
    )
    BACKEND_MISSING = (
        "a rule names a backend that HAProxy does not have",
        "correct the name in the profile or in haproxy.cfg; `anycastd check` lists both",
    )
    FRONTEND_MISSING = (
        "a rule names a frontend that HAProxy does not have",
        "correct the name in the profile or in haproxy.cfg; `anycastd check` lists both",
    )
    FRONTEND_CLOSED = (
        "a frontend that a rule requires is not open",
        "enable it (`enable frontend NAME` on HAProxy's stats socket); after a reload see its log",
    )
    HAPROXY_GONE = (
        "HAProxy is not running: its stats socket does not exist or refuses connections",
        "start HAProxy, or correct `socket` in the profile",
    )
    HAPROXY_SILENT = (
        "HAProxy does not answer on its stats socket",
        "check whether HAProxy is stopped or stuck, and whether the agent may use the socket",
    )
    HAPROXY_LIMIT = (
        "HAProxy has reached a limit of its own process and does not answer on its stats socket",
        "raise the limit that it names: `LimitNOFILE` of its unit, `ulimit-n` or `maxconn`",
    )
    SOCKET_LOST = (
        "HAProxy's stats socket is gone; HAProxy may still run",
        "restart HAProxy, so that it binds its stats socket again",
    )
    ANSWER_MALFORMED = (
        "what answers on HAProxy's stats socket is not understood",
        "see the quoted answer, and whether `socket` is the path of HAProxy's `stats socket`",
    )
    ANSWER_REFUSED = (
        "HAProxy refuses a part of the answer that a rule needs",
        "see the message; docs/policy.md says what follows from it",
    )
    AGENT_SHORT = (
        "this agent lacks descriptors or memory, so it cannot ask HAProxy",
        "end what holds connections to it, or raise LimitNOFILE or MemoryMax of its unit",
    )
    EVIDENCE_STALE = (
        "the newest answer of HAProxy is too old to rely on",
        "the agent asks again by itself; if this stays, restart the agent and report it",
    )
    NOT_LOOKED = (
        "HAProxy has not been asked yet",
        "nothing to do: the agent asks at once, and again every second",
    )
    UNPROVED = (
        "HAProxy shows servers as UP, but no check has proved enough of them yet",
        "wait for the first checks; a server without `check` never counts as proved",
    )
    OVERLOADED = (
        "a queue or a number of sessions is above the limit in `healthy`",
        "see HAProxy's sessions and queues; the service is never withdrawn for this alone",
    )
    MAINTENANCE = (
        "the service is in maintenance: HAProxy's map has its entry",
        "when the work is done, remove the entry (`del map MAP KEY` on HAProxy's stats socket)",
    )
    MAP_MISSING = (
        "HAProxy does not have the map that `maintenance` names",
        "use the map in haproxy.cfg, under exactly the name in the profile",
    )
    # from the self-test
    VIP_REFUSES = (
        "the VIP refuses connections: no process listens there",
        "see HAProxy's `bind` lines: the VIP and the port of `self_test` must be among them",
    )
    VIP_FAILS = (
        "requests to the VIP get no valid answer",
        "send a request to the VIP from this machine, and see HAProxy's log",
    )
    VIP_SLOW = (
        "requests to the VIP are not answered in time: HAProxy is slow, full or queueing",
        "see HAProxy's sessions and queues, and rules (`silent-drop`) that may drop the self-test",
    )
    VIP_MIXED = (
        "requests to the VIP fail again and again between others that pass",
        "see whether a second process listens there (`ss -ltnp`), and HAProxy's log",
    )
    TEST_LIMITED = (
        "the self-test is rate-limited: the VIP answers it with 429",
        "exempt the VIP as a source from the limit (`unless { src VIP }` in its HAProxy rule)",
    )
    NOT_TESTED = (
        "the VIP has not been tested yet",
        "nothing to do: the first request is on its way",
    )
    TEST_UNASKED = (
        "the self-test could not send its request to the VIP",
        "check whether the VIP is on its interface, and whether a local firewall blocks it",
    )
    TEST_STALE = (
        "the newest self-test is too old to rely on",
        "the agent tests again by itself; if this stays, restart the agent and report it",
    )
    # from the checks
    CHECK_FAILED = (
        "a check fails",
        "see what it found, and correct that; `anycastd explain` shows its newest result",
    )
    CHECK_UNPROVED = (
        "a check has not passed or failed often enough in a row to count",
        "nothing to do: it counts after `rise` or `fall` results in a row",
    )
    CHECK_UNSEEN = (
        "a check cannot see what it asks for",
        "see why, and correct that; `anycastd check` tries each check once",
    )
    CHECK_STALE = (
        "the newest result of a check is too old to rely on",
        "the agent checks again by itself; if this stays, restart the agent and report it",
    )
    NOT_CHECKED = (
        "a check has not run yet",
        "nothing to do: its first run has begun",
    )
    # from this machine
    VIP_MISSING = (
        "the VIP is not on its interface and could not be added",
        "give the agent CAP_NET_ADMIN, or add the address yourself",
    )
    NO_SPEAKER = (
        "the speaker's lease process does not answer",
        "start the speaker (`systemctl status anycastd-speaker` shows why it stopped)",
    )
    LEASE_EXPIRED = (
        "the lease expired: no agent renewed it in time, so its routes are withdrawn",
        "see the log for why no agent ran: a crash, a paused machine, a lack of CPU",
    )
    NO_SESSION = (
        "no BGP session carries its VIP, so the service returns at the longest path first",
        "see the neighbors in `anycastd status`; check addresses, ASNs, families and TCP port 179",
    )
    # from an operator
    DRAINING = (
        "it is being drained: at the longest path, until the other regions have taken over",
        "`anycastd undrain` ends the drain",
    )
    DRAIN_WAITS = (
        "the drain waits at the longest path, because no other region is known to serve",
        "bring another region back, or undrain and drain again with --force",
    )
    # of the route
    NO_NEXT_HOP = (
        "none of the next hops serves",
        "bring one of the machines back; see what is found of each",
    )
    NEXT_HOP_FAILED = (
        "the next hop does not serve any more, so another one is announced",
        "see why it fails; it returns by the timers of `return`",
    )
    NEXT_HOP_RETURNED = (
        "an earlier next hop serves again, and is announced",
        "nothing: its rise, its hold-down and the spacing are over",
    )
    MED_CHANGED = (
        "the MED follows the step of its check",
        "nothing: `med` in the profile says which MED each step has",
    )
    DRAINED = ("it is drained: withdrawn by an operator", "`anycastd undrain` ends the drain")
    DRAINS_UNREADABLE = (
        "drains of an earlier agent could not be read, so this service may be drained",
        "drain again what was drained (see the file *.unreadable), then run `anycastd undrain`",
    )
    # timers
    PROVING = (
        "it serves, and must do so for `standby.after` before it is announced",
        "nothing to do: this wait ends by itself",
    )
    RISING = (
        "it serves, and keeps the longest path until it has served for `rise`",
        "nothing to do: this wait ends by itself",
    )
    HOLD_DOWN = (
        "it failed recently: a hold-down keeps it at the longest path",
        "wait, or end the hold-down with `anycastd return`",
    )
    SPACING = (
        "the last change of its route is too recent for another change",
        "nothing to do: this wait ends by itself",
    )
    MANUAL = (
        "it failed and serves again; the profile says that a person decides when it returns",
        "run `anycastd return`",
    )
    FALLING = (
        "it is below `healthy`, but not yet for as long as `fall`",
        "bring the missing servers back",
    )
    NOT_HEALTHY_LONG = (
        "it has not been healthy for as long as `rise` yet",
        "nothing to do: this wait ends by itself",
    )

    def __init__(self, sentence: str, remedy: str) -> None:
        self.sentence = sentence
        self.remedy = remedy
