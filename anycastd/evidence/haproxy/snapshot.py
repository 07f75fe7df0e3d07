"""What one look at HAProxy finds, and which of its servers count (pure).

Which server counts
-------------------
HAProxy shows every server as UP from its start, and after each reload, until the first check
has run.  So UP alone proves nothing; a check of this worker that passed does, if it ended after
the server was last put into service.  A server's
``usable`` is YES (proved), NO, or UNPROVED (HAProxy would use it, but no check confirms it).
``checked`` is whether HAProxy checks the server at all.  The columns are described in HAProxy's
management manual, section 9.1.

The table (tests are generated from it; ``-`` is an empty column, ``n/m`` any two numbers)::

    status              check     agent    weight  usable    checked  because
    UP                  L4OK      -        1       yes       yes      a check has passed
    UP                  L6OK      -        1       yes       yes      a check has passed
    UP                  L7OK      -        1       yes       yes      a check has passed
    UP                  L7OKC     -        1       yes       yes      passed on a condition
    UP                  PROCOK    -        1       yes       yes      an external check has passed
    UP                  * L7OK    -        1       yes       yes      "* ": the next check runs now
    UP                  L4OK      L7OK     1       yes       yes      check and agent agree
    UP                  L4OK      INI      1       yes       yes      an agent can only take away
    UP                  L4OK      L4CON    1       yes       yes      a lost agent is ignored
    UP n/m              L4CON     -        1       yes       yes      it had passed; not yet down
    UP n/m              * L4TOUT  -        1       yes       yes      the same, the next check runs
    UP n/m              HANA      -        1       yes       yes      errors of live traffic; same
    UP n/m              L4OK      -        1       unproved  yes      put back, not checked since
    UP n/m              * L7OK    -        1       unproved  yes      the same, a check runs now
    UP 0/3              L4OK      -        1       yes       yes      added, its first check passed
    UP -1/3             INI       -        1       unproved  yes      added, not checked yet
    UP n/m              INI       -        1       unproved  yes      first check has not run
    UP n/m              * INI     -        1       unproved  yes      first check runs now
    UP                  INI       -        1       unproved  yes      set up by hand, unchecked
    UP                  UNK       -        1       unproved  yes      no check result
    UP                  L4CON     -        1       unproved  yes      set up by hand, it fails
    UP                  -         -        1       unproved  no       no result of any check
    no check            -         -        1       unproved  no       HAProxy does not check it
    no check            -         L7OK     1       yes       yes      its agent says up
    no check            -         CHECKED  1       yes       yes      its agent answers
    no check            -         INI      1       unproved  yes      its agent was not asked yet
    no check            -         L4CON    1       unproved  yes      its agent does not answer
    UP                  L4OK      CHECKED  0       no        yes      weight 0: gets no new traffic
    no check            -         -        0       no        no       likewise
    DOWN                L4CON     -        1       no        yes      its checks have failed
    DOWN                INI       -        1       no        yes      not checked, but down
    DOWN                -         -        1       no        no       by hand, or what it tracks is
    DOWN n/m            L4OK      -        1       no        yes      coming up, not enough passed
    DOWN (agent)        L4OK      L7STS    1       no        yes      its agent says down
    DRAIN               L4OK      -        1       no        yes      gets no new traffic
    DRAIN n/m           L4CON     -        1       no        yes      likewise
    DRAIN (agent)       L4OK      CHECKED  1       no        yes      its agent says drain
    NOLB                L7OKC     -        1       no        yes      its 404 says: no new traffic
    NOLB n/m            L7STS     -        1       no        yes      likewise, and failing
    MAINT               -         -        1       no        no       in maintenance
    MAINT (via b/s)     -         -        1       no        no       what it tracks is in it
    MAINT (resolution)  -         -        1       no        no       its name does not resolve

A word that is not in the table (a newer HAProxy's) is not usable when it replaces UP and no
proof when it replaces a check's result.

* A server that is DOWN because HAProxy had no socket to check it (out of descriptors, memory or
  source ports; HAProxy writes that) is UNPROVED: the check says nothing about the server.
* The row does not always tell that a result is *old*: ``check_results`` compares with the look
  before, for servers whose address changed or that came back with ``fall 1``.
* A share is of the servers that are there, in service or not, without backups.  A server in
  maintenance since the worker began is an *empty slot* and in no share; one whose name stopped
  resolving is in it for an hour (``judged_rows``).
* A server that is this HAProxy itself, by its address, is no server: NO, and in no share
  (``loops``).
* A server that *tracks* another has no check of its own: the check columns of the server at the
  end of the chain stand for its own.  If that row was not asked for, it is UNPROVED;
  ``query.missing_tracked_backends()`` names the backends to ask for as well.
* *Backup* servers count only while no active server of their backend does (neither proved nor
  unproved), since HAProxy uses them only then.  One that is DOWN is not used, though it may be
  UNPROVED.  Every usable backup counts; without ``option allbackups`` HAProxy uses one at a time.
* ``load-server-state-from-file`` gives a new worker the check results of an old one; they prove
  nothing until a check of the new worker is seen (``check_results``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anycastd.evidence.haproxy.judged_rows import JudgedRows
from anycastd.evidence.haproxy.servers import Server, ServerCounts, Usable
from anycastd.reasons import Reason


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend and its servers.

    ``asked_at`` is when the rows were asked for (own time, seconds).  ``number`` is HAProxy's own
    number for it.  ``sessions`` are open now.  ``queued_requests`` wait in its queue and in those
    of its servers.  ``failed_connects`` counts HAProxy's failed attempts to connect to a server,
    those that it tried again included.  ``weights``, where the query asks for them: server -> (its
    weight now, its weight in haproxy.cfg); ``weights_refused`` is what HAProxy answered instead.
    ``counts``: see ServerCounts.
    """

    name: str
    status: str
    servers: tuple[Server, ...]
    asked_at: float = 0.0
    number: int = 0
    sessions: int = 0
    queued_requests: int = 0
    weights: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    weights_refused: str = ""
    failed_connects: int = field(default=0, compare=False)
    counts: ServerCounts = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Count once for each look: several rules ask in each pass, of thousands of servers."""
        yes, unproved = Usable.YES, Usable.UNPROVED
        open_ = [server for server in self.servers if server.usable is unproved]
        backups = [server.backup for server in self.servers if server.in_share]
        counts = ServerCounts(
            proved=[server.usable for server in self.servers].count(yes),
            unproved=len(open_),
            unchecked=sum(not server.checked for server in open_),
            active=backups.count(False) or len(backups),
        )
        object.__setattr__(self, "counts", counts)


@dataclass(frozen=True, slots=True)
class Frontend:
    """A frontend.

    ``is_open`` is true also while it is full: overload is no reason to withdraw.  ``status`` is
    HAProxy's own word.  ``sessions`` are open now.  ``asked_at`` is own time in seconds.
    ``number`` is HAProxy's own number for it.
    """

    name: str
    is_open: bool
    status: str
    sessions: int
    asked_at: float = 0.0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """The HAProxy worker that answered.

    ``uptime`` is in seconds, ``started_at`` in wall time (whole seconds since 1970; 0: not known).
    ``began_at`` is its start in own time, to about a second.  ``stopping``: it only finishes its
    open connections.
    """

    pid: int
    uptime: float
    stopping: bool
    version: str
    started_at: int = 0
    began_at: float = 0.0

    def is_same_process(self, other: Worker) -> bool:
        """Return whether both are one process; in a container the same pid may be used again."""
        return self.pid == other.pid and self.started_at == other.started_at


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete answer of one HAProxy; ``asked_at`` is when it was asked (own time, seconds).

    A name that HAProxy does not have is absent.  ``polling`` says why HAProxy is polled; empty
    while its events arrive.
    ``entries``: (map, key) -> its value, None where the map has no such key.  ``refused``:
    (map, key) -> what HAProxy answered instead.  A map that HAProxy does not have is in neither.
    ``judged`` is what the next look is compared with.
    """

    asked_at: float
    worker: Worker
    backends: Mapping[str, Backend]
    frontends: Mapping[str, Frontend]
    polling: str = ""
    entries: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    judged: JudgedRows = field(default=JudgedRows(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Gone:
    """No HAProxy process: a new connection was refused, or there is no socket.

    ``asked_at`` is own time in seconds; ``detail`` is for people.
    """

    asked_at: float
    detail: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No usable answer (timeout, permission, malformed): HAProxy may still serve.

    ``missed`` looks in a row found none: the first was asked at ``began_at``, the newest at
    ``asked_at`` (own time, seconds).  ``detail`` is for people, and ``reason`` is the cause.
    ``heard_at`` (own time) is when the worker wrote the newest line of its event stream, if the
    stream shows that it runs, and that no server has changed since the last answer; else None.
    """

    asked_at: float
    began_at: float
    missed: int
    detail: str
    reason: Reason = Reason.HAPROXY_SILENT
    heard_at: float | None = None


Observation = Snapshot | Gone | Unreadable
"""Result of one look."""
