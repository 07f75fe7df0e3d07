"""The values of ``checks``: what the agent asks besides HAProxy, by name.

``build`` creates them.  All durations are in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Target(NamedTuple):
    """A TCP port of a host; ``host`` is an IP address or a name.

    ``str()`` gives ``HOST:PORT`` as it is written in a profile.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``HOST:PORT``, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Url(NamedTuple):
    """An ``http`` or ``https`` URL (RFC 9110 section 4.2): where to connect, and what to ask for.

    ``path`` has the query, if there is one.
    """

    tls: bool
    target: Target
    path: str

    @property
    def authority(self) -> str:
        """Return the host for the Host header: without the port where it is the usual one."""
        usual = 443 if self.tls else 80
        whole = str(self.target)
        return whole.rpartition(":")[0] if self.target.port == usual else whole

    def __str__(self) -> str:
        """Return the URL as it is written in a profile."""
        return f"http{'s' * self.tls}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Passes if a TCP connection to ``target`` is accepted."""

    target: Target

    @property
    def what(self) -> str:
        """Describe for people what is asked."""
        return f"tcp {self.target}"


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Passes if a GET of ``url`` is answered as wanted (RFC 9110).

    ``host`` is the Host header (None: that of the URL).  ``status`` are the statuses that pass
    (empty: 200 to 399), ``contains`` a text that the body must have (None: any body passes).
    ``tls_verify``: the certificate must be valid for the URL's host, by the system's authorities
    or those in the file ``ca_file``.  ``follow_redirects``: how many redirects are followed.
    """

    url: Url
    host: str | None = None
    status: tuple[int, ...] = ()
    contains: str | None = None
    tls_verify: bool = True
    ca_file: str | None = None
    follow_redirects: int = 0

    @property
    def what(self) -> str:
        """Describe for people what is asked."""
        return f"GET {self.url}"


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """Passes if ``command`` (a full path and its arguments, no shell) ends with exit status 0."""

    command: tuple[str, ...]

    @property
    def what(self) -> str:
        """Describe for people what is asked."""
        return f"command {self.command[0]}"


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Passes while there is a file at ``path``; with ``exists`` False while there is none."""

    path: str
    exists: bool = True

    @property
    def what(self) -> str:
        """Describe for people what is asked."""
        return f"file {self.path} {'exists' if self.exists else 'does not exist'}"


@dataclass(frozen=True, slots=True)
class LoadCheck:
    """Measures the load of this machine in steps; passes below the last step.

    ``load_average`` are limits of the load average of the last minute per core, ascending;
    ``memory_available`` are limits of the available memory in percent, descending.  Each limit that
    is passed is one step.  ``hysteresis``: percent of a limit by which a value must be better
    again before its step ends.
    """

    load_average: tuple[float, ...] = ()
    memory_available: tuple[float, ...] = ()
    hysteresis: float = 10

    @property
    def steps(self) -> int:
        """Return the number of the last step; the first one is 0."""
        return max(len(self.load_average), len(self.memory_available))

    @property
    def what(self) -> str:
        """Describe for people what is asked."""
        limits = []
        if self.load_average:
            limits.append(f"load average per core below {self.load_average[-1]:g}")
        if self.memory_available:
            limits.append(f"{self.memory_available[-1]:g} % of memory available")
        return " and ".join(limits)


CheckKind = TcpCheck | HttpCheck | CommandCheck | FileCheck | LoadCheck
"""What a check asks."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it asks, how often, and how many results count.

    ``every``: seconds between two runs.  ``timeout``: seconds for one run.  ``rise``: results in a
    row that must pass before it passes, ``fall``: that must fail before it fails.  ``deadline``:
    seconds without any result after which it counts as failed.  ``line`` is its line in the
    profile.
    """

    name: str
    asks: CheckKind
    every: float
    timeout: float
    rise: int
    fall: int
    deadline: float
