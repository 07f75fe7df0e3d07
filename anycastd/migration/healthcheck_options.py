"""Read options of ExaBGP's healthcheck: a command line, or its configuration file (pure)."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from anycastd.migration.draft import SourceError
from anycastd.system.printable import make_printable

FLAGS = frozenset(
    {
        *("silent", "no-syslog", "debug", "no-ack", "sudo", "deaggregate-networks", "no-ip-setup"),
        *("dynamic-ip-setup", "label-exact-match", "withdraw-on-down", "debounce", "help"),
    }
)
"""Options without a value."""
VALUES = frozenset(
    {
        *("syslog-facility", "name", "config", "pid", "user", "group", "interval", "fast-interval"),
        *("timeout", "rise", "fall", "disable", "command", "next-hop", "ip", "ip-ifname"),
        *("local-preference", "label", "start-ip", "up-metric", "down-metric", "disabled-metric"),
        *("increase", "community", "extended-community", "large-community", "disabled-community"),
        *("as-path", "up-as-path", "down-as-path", "disabled-as-path", "path-id", "neighbor"),
        *("execute", "up-execute", "down-execute", "disabled-execute"),
    }
)
"""Options with a value."""
ALIASES: Mapping[str, str] = {
    "-s": "silent",
    "-sF": "syslog-facility",
    "-d": "debug",
    "-a": "no-ack",
    "-n": "name",
    "-F": "config",
    "-p": "pid",
    "-i": "interval",
    "-f": "fast-interval",
    "-t": "timeout",
    "-c": "command",
    "-N": "next-hop",
    "-h": "help",
    "--cmd": "command",
}
"""Other names of options."""
_OPTIONAL = "syslog-facility"  # its value may be left out
_PROGRAMS = (
    "healthcheck",
    "healthcheck.py",
    "exabgp-healthcheck",
    "exabgp.application.healthcheck",
)
_SHOWN = 60


@dataclass(slots=True)
class Options:
    """Options: name -> its values, each with its line; a flag has an empty value."""

    values: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, line: int, name: str, value: str) -> None:
        """Add a value of an option."""
        self.values.setdefault(name, []).append((line, value))

    def get(self, name: str) -> str | None:
        """Return the last value of an option; None where it is not given."""
        found = self.values.get(name)
        return found[-1][1] if found else None

    def find_line(self, name: str) -> int:
        """Return the line of the last value of an option; 0 where it is not given."""
        found = self.values.get(name)
        return found[-1][0] if found else 0


def read_options(text: str) -> Options:
    """Read a file: a configuration file of healthcheck, or a line with its command line.

    Raises SourceError where an option is not known, lacks its value, or the text is neither.
    """
    lines = _join_lines(text)
    commands = [(number, line) for number, line in lines if _is_command_line(line)]
    if not commands:
        return _read_file(lines)
    if len(commands) > 1:
        raise SourceError(commands[1][0], "a second command line: give each its own file")
    number, line = commands[0]
    try:
        words = shlex.split(line.rstrip("; "), comments=True)
    except ValueError as error:
        raise SourceError(number, f"no command line: {error}".lower()) from None
    return read_arguments(number, find_arguments(words) or words)


def find_arguments(words: Sequence[str]) -> list[str] | None:
    """Return what follows the program's name in a command line; None where it is another one."""
    for index, word in enumerate(words):
        if word.rpartition("/")[2] in _PROGRAMS:
            return list(words[index + 1 :])
    return None


def read_arguments(line: int, words: Iterable[str]) -> Options:
    """Read the words of a command line; raises SourceError as ``read_options``."""
    found = Options()
    waiting = deque(words)
    while waiting:
        word = waiting.popleft().rstrip(";")
        if not word:
            continue
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            raise SourceError(line, f"{_show(word)} is no option of healthcheck")
        if not word.startswith("--") and word not in ALIASES and word[:2] in ALIASES:
            name, equals, value = word[:2], "=", word[2:].removeprefix("=")
        option = _find(line, name)
        if option in FLAGS:
            if equals:
                raise SourceError(line, f"{name} takes no value")
            found.add(line, option, "")
        elif equals:
            found.add(line, option, value)
        elif option == _OPTIONAL and (not waiting or waiting[0].startswith("-")):
            found.add(line, option, "daemon")
        elif not waiting:
            raise SourceError(line, f"{name} lacks its value")
        else:
            found.add(line, option, waiting.popleft())
    return found


def _find(line: int, name: str) -> str:
    """Find the option that a word names: a unique beginning is enough, as for argparse."""
    if name in ALIASES:
        return ALIASES[name]
    wanted = name.removeprefix("--")
    known = FLAGS | VALUES
    if wanted in known:
        return wanted
    near = [each for each in known if wanted and each.startswith(wanted)]
    if name.startswith("--") and len(near) == 1:
        return near[0]
    raise SourceError(line, f"{_show(name)} is no option of healthcheck")


def _join_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that are neither empty nor comments; a backslash at the end joins two."""
    found: list[tuple[int, list[str]]] = []
    goes_on = False
    for number, line in enumerate(text.split("\n"), 1):
        if any(ord(char) < 32 and char not in "\t\r" for char in line):  # noqa: PLR2004 - a space
            raise SourceError(number, "a control character: these are no options of healthcheck")
        kept = line.strip()
        if goes_on:
            found[-1][1].append(kept.removesuffix("\\"))
        elif kept and not kept.startswith("#"):
            found.append((number, [kept.removesuffix("\\")]))
        else:
            continue
        goes_on = kept.endswith("\\")
    joined = [(number, " ".join(parts).strip()) for number, parts in found]
    if not any(line for _, line in joined):
        raise SourceError(0, "no option of healthcheck is in it")
    return [(number, line) for number, line in joined if line]


def _is_command_line(line: str) -> bool:
    first = line.split(None, 1)[0]
    if first.startswith("-"):
        return True
    return "=" not in first and find_arguments(line.split("=", 1)[0].split()) is not None


def _read_file(lines: Iterable[tuple[int, str]]) -> Options:
    found = Options()
    for number, line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        option = _find(number, f"--{name}")
        if option in FLAGS and equals:
            raise SourceError(number, f"{option} takes no value")
        if option in VALUES and not equals and option != _OPTIONAL:
            raise SourceError(number, f"{option} lacks its value: write {option} = VALUE")
        found.add(number, option, value)
    return found


def _show(text: str) -> str:
    return make_printable(text[:_SHOWN], _SHOWN) or "nothing"
