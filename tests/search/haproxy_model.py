"""HAProxy's servers as a model: what their checks find, and the rows that ``show stat`` prints.

Written from HAProxy's behaviour (docs/servers.md), without any function of the code under search.
For the observer, each server also knows what no column shows: whether a check of this worker has
passed since it was last put into service.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

INTER, RISE = 2.0, 1
"""Seconds between two checks of a server; checks that have to pass until it is up."""
COLUMNS = (
    "pxname,svname,scur,qcur,econ,wretr,wredis,status,weight,act,bck,sid,iid,tracked,type,"
    "check_status,last_chk,last_agt,agent_status,lastchg,chkfail,chkdown,check_duration,"
    "check_fall,addr"
)


@dataclass(frozen=True, slots=True)
class ModelServer:
    """One server; times are own time, in seconds.

    ``address`` is empty while its name does not resolve.  ``passed``: a check of this worker has
    passed since it was last put into service at its address, at ``changed_at``, and it has not been
    down since.  ``hidden``: what happened then does not show in the row.  ``served``: this
    worker has had it in service.
    """

    name: str
    fall: int = 3
    address: str = "10.0.3.4:80"
    in_maintenance: bool = False
    health: int = RISE
    result: str = "INI"
    began_at: float = 0.0
    failed_checks: int = 0
    times_gone: int = 0
    passed: bool = False
    changed_at: float = 0.0
    hidden: bool = False
    served: bool = True

    @property
    def full(self) -> int:
        """Return the health after a check that passed."""
        return RISE + self.fall - 1

    @property
    def in_service(self) -> bool:
        """Tell whether HAProxy checks it."""
        return not self.in_maintenance and bool(self.address)

    @property
    def is_up(self) -> bool:
        """Tell whether HAProxy would send it a request."""
        return self.in_service and self.health >= RISE

    def check(self, *, alive: bool) -> ModelServer:
        """Run one check."""
        if not self.in_service:
            return self
        if alive:
            return replace(self, result="L4OK", health=self.full, passed=True)
        health = self.health - 1 if self.health > RISE else 0
        return replace(
            self,
            result="L4CON",
            passed=self.passed and health > 0,
            health=health,
            failed_checks=self.failed_checks + self.is_up,
            times_gone=self.times_gone + (self.is_up and health == 0),
        )

    def leave(self, now: float, **changes: object) -> ModelServer:
        """Leave service: by hand, or because the name does not resolve any more."""
        gone = self.times_gone + self.is_up
        left = replace(self, times_gone=gone, passed=False, **changes)  # type: ignore[arg-type]
        return replace(left, began_at=now if self.in_service else self.began_at)

    def enter(self, now: float, **changes: object) -> ModelServer:
        """Come back into service, with the result of the check before."""
        entered = replace(
            self,
            passed=False,
            changed_at=now,
            hidden=self.fall == 1 and self.result == "L4OK",
            **changes,  # type: ignore[arg-type]
        )
        if not entered.in_service:
            return entered
        return replace(entered, began_at=now, served=True, health=RISE)

    def move(self, now: float, address: str) -> ModelServer:
        """Get another address; a server that is in service shows nothing else."""
        moved = replace(self, address=address, passed=False, changed_at=now)
        return replace(moved, hidden=True) if self.in_service else moved

    def restart(self, now: float) -> ModelServer:
        """Begin anew in another worker: maintenance by hand ends, an unresolved name does not."""
        return ModelServer(
            self.name,
            self.fall,
            self.address,
            began_at=now,
            changed_at=now,
            served=bool(self.address),
            times_gone=0 if self.address else 1,
        )

    def row(self, now: float) -> str:
        """Return its row of ``show stat``."""
        if self.in_service:
            status, check = self._status(), self.result
        else:
            status, check = ("MAINT" if self.address else "MAINT (resolution)"), ""
        age = int(now - self.began_at)
        return (
            f"web,{self.name},0,0,0,0,0,{status},1,1,0,{self.number},3,,2,{check},,,,"
            f"{age},{self.failed_checks},{self.times_gone},0,{self.fall},{self.address},"
        )

    @property
    def number(self) -> int:
        """Return HAProxy's number of it in its backend."""
        return 1 + int("".join(filter(str.isdecimal, self.name)) or 9)

    def _status(self) -> str:
        if self.health == 0:
            return "DOWN"
        return "UP" if self.health == self.full else f"UP {self.health - RISE + 1}/{self.fall}"


def build_answer(
    servers: tuple[ModelServer, ...],
    pid: int,
    began_at: float,
    now: float,
    commands: tuple[str, ...] = ("show stat",),
) -> str:
    """Build HAProxy's answer to a look at ``now`` by a worker that began at ``began_at``.

    ``commands`` are those for rows; ``show info`` comes after them.
    """
    rows = {str(each.number): each.row(now) for each in servers}
    front = "web,FRONTEND,0,,,,,OPEN,,,,,2,,0,,,,,,,,,,,"
    usable = sum(each.is_up for each in servers)
    back = f"web,BACKEND,0,0,0,0,0,UP,{usable},{usable},0,,3,,1,,,,,,,,,,,"
    info = f"Name: HAProxy\nVersion: 2.6.12\nPid: {pid}\nUptime_sec: {int(now - began_at)}\n"
    answers = []
    for command in commands:
        proxy, kinds, single = command.split()[2:] or ("", "7", "-1")
        lines = [front] if proxy in ("", "#2") and int(kinds) & 1 else []
        if proxy in ("", "#3"):
            lines += [
                row for number, row in rows.items() if int(kinds) & 4 and single in ("-1", number)
            ]
            lines += [back] if int(kinds) & 2 else []
        answers.append("\n".join([f"# {COLUMNS},", *lines]) + "\n\n")
    return "".join(answers) + f"{info}Stopping: 0\n\n"
