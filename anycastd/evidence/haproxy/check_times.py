"""Compute how long HAProxy takes to notice a dead server, from haproxy.cfg (pure).

The stats socket shows no ``inter``.  Configuration manual, section 5.2: a server that is up is
checked each ``inter`` (2 s), after a first failure each ``fastinter`` (``inter``), and is down
after ``fall`` (3) failures in a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from anycastd.profile.conditions import BackendRule

MAX_DETECTION = 15.0
"""Seconds after which a dead server is noticed too late: twice what HAProxy's defaults make."""
_UNITS = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"([0-9]{1,10})(us|ms|s|m|h|d|)")
_SECTIONS = {
    *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist"),
    *("mailers", "cache", "program", "http-errors", "ring", "log-forward", "fcgi-app"),
    *("crt-store", "traces", "acme", "log-profile"),
}
_KEYS = ("inter", "fastinter", "fall")
_WORD = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'#\\])+""")


class CheckTimes(NamedTuple):
    """What one ``server`` line says of its checks; None: HAProxy's default, or not known."""

    server: str
    inter: str | None
    fastinter: str | None
    fall: str | None

    @property
    def detection(self) -> float | None:
        """Return the seconds until HAProxy notices that it is dead; None if a value is not known.

        A check that is never answered takes longer by its own time-out.
        """
        inter = _parse_time(self.inter or "2s")
        fast = _parse_time(self.fastinter) if self.fastinter else inter
        fall = self.fall or "3"
        if inter is None or fast is None or not re.fullmatch(r"[0-9]{1,6}", fall):
            return None
        return inter + (int(fall) - 1) * fast


def parse_check_times(text: str) -> dict[str, list[CheckTimes]]:
    """Return backend -> its servers that are checked, as haproxy.cfg has them.

    A `defaults` section applies to what follows it, or by name (`from NAME`).  Lines of an unknown
    kind are left out.
    """
    defaults: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    latest: dict[str, str] = {}
    kind = name = ""
    found: dict[str, list[CheckTimes]] = {}
    for line in text.splitlines():
        words = [word.strip("\"'") for word in _WORD.findall(line.split(" #")[0])]
        if not words or line.lstrip().startswith("#"):
            continue
        if words[0] in _SECTIONS:
            kind, name = words[0], words[1] if len(words) > 1 else ""
            base = words[words.index("from") + 1] if "from" in words[:-1] else None
            inherited = latest if base is None else defaults.get(base, {})
            current = dict({} if kind == "defaults" and base is None else inherited)
            if kind == "defaults":
                latest = defaults[name] = current
        elif words[0] == "default-server":
            current.update(_read_options(words[1:]))
        elif words[0] not in {"server", "server-template"} or len(words) == 1:
            continue
        elif kind in {"backend", "listen"}:
            options = current | _read_options(words[2:])
            if options.get("check"):
                times = CheckTimes(words[1], *(options.get(key) for key in _KEYS))
                found.setdefault(name, []).append(times)
    return found


def _read_options(words: Sequence[str]) -> dict[str, str]:
    options = {key: words[words.index(key) + 1] for key in _KEYS if key in words[:-1]}
    for word, value in (("check", "check"), ("no-check", "")):
        if word in words:
            options["check"] = value
    return options


def _parse_time(text: str) -> float | None:
    match = _TIME.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


def find_slow_checks(
    rules: Sequence[BackendRule], times: Mapping[str, Sequence[CheckTimes]]
) -> Iterator[tuple[str, str]]:
    """Yield (message, remedy) for each backend of a rule that notices a dead server too late."""
    for backend in dict.fromkeys(rule.backend for rule in rules):
        known = [
            (each.detection, each) for each in times.get(backend, ()) if each.detection is not None
        ]
        slowest, each = max(known, key=lambda pair: pair[0], default=(0.0, None))
        if each is not None and slowest > MAX_DETECTION:
            fast = f", fastinter {each.fastinter}" if each.fastinter else ""
            message = (
                f"backend {backend}: HAProxy notices a dead server after up to {slowest:g} s "
                f"(server {each.server}: inter {each.inter or '2s'}{fast}, fall "
                f"{each.fall or '3'}), and the route stays as long"
            )
            yield message, "write `inter 2s fastinter 500ms` on its default-server line"
