"""Every problem that `anycastd status` can list, with its remedy: for docs/messages.md.

``shown`` is the text on the screen; a word in capitals stands for what varies.  ``source`` is the
file below anycastd/ that has the text, and ``text`` a part of it as that file writes it, so that a
test finds a text that has changed.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A problem; see the head of this file."""

    shown: str
    source: str
    text: str
    remedy: str


PROBLEMS = (
    Known(
        "the speaker's lease process does not answer",
        "views/problems.py",
        ".sentence}: {",
        "`systemctl status anycastd-speaker` shows why it stopped; start it",
    ),
    Known(
        "ExaBGP refused to COMMAND",
        "views/problems.py",
        "ExaBGP refused to ",
        "see the speaker's log (`journalctl -u anycastd-speaker`); if the route is a VIP of the "
        "profile, report it",
    ),
    Known(
        "neighbor ADDRESS: the session is STATE (WHY)",
        "views/problems.py",
        ": the session is ",
        "the text in brackets says what to compare with the neighbor; see "
        "[the table of reasons](status.md)",
    ),
    Known(
        "service NAME: neighbor ADDRESS does not have the wanted route yet",
        "views/problems.py",
        " does not have the wanted route yet",
        "nothing to do for some seconds; if it stays, see the speaker's log",
    ),
    Known(
        "neighbor ADDRESS did not negotiate FAMILY unicast: VIPS not announced there",
        "views/problems.py",
        " did not negotiate ",
        "activate the family for this machine on the neighbor, or leave it out of `families`",
    ),
    Known(
        "neighbor ADDRESS: the negotiated hold time is 0",
        "views/problems.py",
        ": the negotiated hold time is 0, so a dead host keeps its ",
        "configure a hold time on the neighbor, 9 s or more",
    ),
    Known(
        "neighbor ADDRESS: the negotiated hold time is N s, not more than lease.ttl",
        "views/problems.py",
        " s, not more ",
        "configure a longer hold time on the neighbor, or a lower `lease.ttl` in the profile",
    ),
    Known(
        "neighbor ADDRESS: its session was lost N times within 10 minutes: it flaps",
        "lease/neighbor.py",
        "its session was lost ",
        "see the last reason in the text; look for packet loss, a full CPU or a hold time that is "
        "too short",
    ),
    Known(
        "haproxy NAME: server BACKEND/SERVER refuses this agent at ADDRESS, though HAProxy's check "
        "passes: what the agent finds there does not count",
        "evidence/servers/asker.py",
        "though HAProxy's check passes: what the ",
        "HAProxy connects in another way (`source`, `namespace`, `socks4`, a port of the check, a "
        "firewall rule for one user): write `ask_servers: false` in `haproxy`, see "
        "[asking.md](asking.md)",
    ),
    Known(
        "VIP PREFIX: cannot put VIP on INTERFACE: WHY",
        "evidence/vip/loopback.py",
        "cannot put ",
        "give the agent CAP_NET_ADMIN, or add the address yourself; `ip address show dev lo` shows "
        "what is there",
    ),
    Known(
        "VIP ADDRESS: on port N listen PROGRAMS",
        "evidence/vip/prober.py",
        " listen ",
        "only HAProxy may listen on the VIP: end the other program, or bind it to another address",
    ),
    Known(
        "check NAME: SENTENCE (EVIDENCE), where no service's level shows it",
        "views/problems.py",
        "check {name}: {_CHECK_STATES",
        "the sentence is one of [every reason](reasons.md), with its remedy",
    ),
    Known(
        "check NAME: its file is only looked at from time to time: ERROR",
        "evidence/checks/file_check.py",
        "its file is only looked at from time to time",
        "raise the limit that ERROR names, such as fs.inotify.max_user_instances; until then a "
        "change is seen after `every`",
    ),
    Known(
        "service NAME: SENTENCE (EVIDENCE), for a failed self-test",
        "views/problems.py",
        ".sentence} ({",
        "the sentence is one of [every reason](reasons.md), with its remedy",
    ),
    Known(
        "service NAME: SENTENCE (EVIDENCE): REMEDY, for a missing maintenance map",
        "views/problems.py",
        "): {",
        "use the map in haproxy.cfg, under exactly the name in the profile",
    ),
    Known(
        "haproxy NAME: polled, not event-driven: WHY",
        "views/problems.py",
        ": polled, not event-driven: ",
        "the text has the lines for haproxy.cfg; until then each change is seen up to a second "
        "later",
    ),
    Known(
        "haproxy NAME: HAProxy has reached a limit of its own process: LINE",
        "evidence/haproxy/watcher.py",
        "HAPROXY_LIMIT.sentence",
        "raise the limit that it names: `LimitNOFILE` of its unit, `ulimit-n` or `maxconn`",
    ),
    Known(
        "haproxy NAME: frontend FRONTEND is paused: it refuses connections",
        "evidence/haproxy/event_stream.py",
        " is paused: it refuses connections",
        "`enable frontend FRONTEND` on HAProxy's stats socket, or see HAProxy's log of its reload",
    ),
    Known(
        "haproxy NAME: frontend FRONTEND was paused for N s, and refused connections",
        "evidence/haproxy/event_stream.py",
        " ago, and refused connections: a reload that cannot ",
        "see HAProxy's log: a reload could not bind a port; the text goes away by itself",
    ),
    Known(
        "the lease's report cannot be read: ERROR; restart the speaker",
        "agent/lease_client.py",
        "the lease's report cannot be read: ",
        "drain, restart the speaker, and undrain: agent and speaker are of releases that differ",
    ),
    Known(
        "the lease refused what it was told: WHY",
        "agent/lease_client.py",
        "the lease refused what it was told: ",
        "give agent and speaker the same profile, and reload",
    ),
    Known(
        "the speaker runs other sessions or VIPs than this profile has",
        "agent/lease_client.py",
        "the speaker runs other sessions or VIPs than this profile has",
        "restart the speaker when a loss of its sessions suits, or give both the same `--profile`",
    ),
    Known(
        "PREFIX is not a VIP that the speaker may announce",
        "lease/adj_rib_out.py",
        " is not a VIP that the speaker may announce",
        "give agent and speaker the same profile, and reload",
    ),
    Known(
        "ADDRESS is not a neighbor of the speaker",
        "lease/adj_rib_out.py",
        " is not a neighbor of the speaker",
        "give agent and speaker the same profile, and reload",
    ),
    Known(
        "PREFIX: the path PATH does not begin with our ASN",
        "lease/adj_rib_out.py",
        " does not begin with our ASN",
        "give agent and speaker the same profile, and reload",
    ),
    Known(
        "agents crashed N times within SECONDS s: nothing is announced",
        "lease/owner.py",
        "agents crashed ",
        "see why the agent ends (`journalctl -u anycastd`), and correct it; then wait as long as "
        "the text says",
    ),
    Known(
        "this speaker cannot take over other sessions while it runs",
        "lease/reconfigure.py",
        "this speaker cannot take over other sessions while it runs: restart it for them",
        "drain, restart the speaker, and undrain",
    ),
    Known(
        "the speaker keeps its sessions as they are: WHY",
        "lease/reconfigure.py",
        "the speaker keeps its sessions as they are: ",
        "correct what the text names, and reload",
    ),
    Known(
        "the lease process cannot take another connection: ERROR",
        "speaker/connections.py",
        "the lease process cannot take another connection: ",
        "end what holds connections to its socket, or raise LimitNOFILE of the speaker's unit",
    ),
    Known(
        "the speaker cannot be started: ERROR",
        "agent/supervisor.py",
        "the speaker cannot be started: ",
        "correct what the error names; the agent tries again by itself",
    ),
    Known(
        "FILE: cannot be written: ERROR; which drains begin or end is lost with this agent",
        "agent/drain_store.py",
        ": cannot be written: ",
        "make room on the disk, or make the state directory writable; the agent tries again",
    ),
    Known(
        "FILE: drains of an earlier agent cannot be read now: ERROR",
        "agent/drain_store.py",
        ": drains of an earlier agent cannot be read now: ",
        "correct what the error names, such as a full table of descriptors or a disk that fails; "
        "the agent tries again each second",
    ),
    Known(
        "FILE: CONTENT of an earlier agent could not be read",
        "agent/state_file.py",
        " of an earlier agent could not be read; ",
        "see what the file held (`less FILE`), drain again what was drained, and remove it",
    ),
    Known(
        "the last reload: WHY",
        "agent/reload.py",
        "the last reload: ",
        "correct what the text names, and run `anycastd reload`; the agent goes on unchanged",
    ),
    Known(
        "the last reload was refused, and the profile before it goes on (WHY)",
        "agent/reload.py",
        "the last reload was refused, and the profile before it goes on (",
        "correct the file, then `anycastd reload`; a restart would read the file as it is",
    ),
    Known(
        "FILE: the history cannot be written: ERROR",
        "agent/history_file.py",
        ": the history cannot be written: ",
        "make room, or repair the state directory; the agent tries again, and nothing else depends "
        "on it",
    ),
    Known(
        "FILE: the history was damaged, and its readable part was kept",
        "agent/history_file.py",
        ": the history was damaged, and its readable part was kept",
        "see what happened to the disk, and remove the file",
    ),
    Known(
        "control.admin_group: there is no group NAME, so only root may change anything",
        "agent/peer_access.py",
        "control.admin_group: ",
        "`groupadd --system NAME`, then reload; or correct the name in the profile",
    ),
    Known(
        "web: does not answer: WHY",
        "agent/http_server.py",
        "web: does not answer: ",
        "correct the token file that the text names; the agent tries again by itself",
    ),
    Known(
        "web: cannot listen on ADDRESS: ERROR",
        "agent/http_server.py",
        "web: cannot listen on ",
        "correct `web.listen`, or end the program that has the port; the agent tries again",
    ),
    Known(
        "web: no connection can be accepted: ERROR",
        "agent/connections.py",
        ": no connection can be accepted: ",
        "raise LimitNOFILE of the agent's unit, or end what holds its descriptors; also for "
        "`agent.sock`",
    ),
    Known(
        "web: the agent has only N descriptors, so connections are closed",
        "agent/connections.py",
        ": the agent has only ",
        "set a higher LimitNOFILE for the agent's unit; also for `agent.sock`",
    ),
    Known(
        "web: too many connections, the newest from ADDRESS",
        "agent/connections.py",
        ": too many connections, the newest from ",
        "see what that client does; name the networks that may connect in `web.allow`; also for "
        "`agent.sock`",
    ),
)
