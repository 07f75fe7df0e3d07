"""The clients' load, and what they saw."""

from __future__ import annotations

from anycastd.lab.network.appliance import PYTHON
from anycastd.lab.network.namespaces import Nodes, Process
from anycastd.lab.network.outage import Outage, RequestLog, RequestResult, find_outage
from anycastd.lab.network.topology import VIP


class LoadClient:
    """The load of one client: requests to the VIP from a node.

    It sends a request each ``interval`` seconds, each on a new connection and with a timeout of
    ``timeout`` seconds.  With ``resend`` a request is sent again once after a reset, as browsers do
    (RFC 9110, section 9.2.2).  ``since`` is a time of the monotonic clock, in seconds.
    """

    def __init__(
        self,
        nodes: Nodes,
        interval: float,
        timeout: float,
        *,
        resend: bool,
        node: str = "client",
        vip: str = VIP,
    ) -> None:
        self.resend = resend
        self.interval = interval
        self.timeout = timeout
        self.node = node
        self._vip = vip
        self._nodes = nodes
        self._process: Process | None = None
        self._request_log: RequestLog | None = None
        self._runs = 0

    def start(self) -> None:
        """Start to send requests, with an empty log; a load that runs is stopped first."""
        self.stop()
        self._runs += 1
        argv = (*PYTHON, "anycastd.lab.programs.load_client", self._vip)
        times = (f"--interval={self.interval}", f"--timeout={self.timeout}")
        name = f"load{self._runs}"
        more = ("--resend",) if self.resend else ()
        self._process = self._nodes.start(self.node, name, *argv, *times, *more)
        self._request_log = RequestLog(self._process.log)

    def stop(self) -> list[RequestResult]:
        """Stop sending, wait for the requests under way and return all results.

        A client that somebody froze is continued; one that does not end is killed.
        """
        if self._process is not None:
            self._process.terminate()
            self._process.end(self.timeout + 1)
            self._process = None
        return self.results()

    def results(self, since: float = 0.0) -> list[RequestResult]:
        """Return the results of the requests that ended at ``since`` (monotonic, s) or later."""
        return self._request_log.results(since) if self._request_log else []

    def outage(self, since: float = 0.0) -> Outage | None:
        """Return the outage of the requests that ended at ``since`` (monotonic clock, s) or later.

        None without a failed request.
        """
        return find_outage(self.results(since), since)
