"""A running speaker's files for another profile.

``python -m anycastd.rewrite PROFILE DIRECTORY [ADDRESS ...]``: the lease process starts this when
an agent asks for the sessions of the profile on disk.  It writes what disturbs nobody, and of the
sessions that must close for their change only those with the neighbors that are named.  It prints
what it did as one line of JSON (fields are only ever added: after an upgrade an older lease process
reads it).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from anycastd import speaker
from anycastd.profile import Profile
from anycastd.rules import accept

VERSION = 1

# The words of a neighbor's block that come from the profile.  Only these count: what a newer
# release adds to the template is no reason to close a session.
_VALUES = re.compile(
    r"^\s*(?:(router-id|local-address|local-as|peer-as|hold-time|connect|outgoing-ttl"
    r"|md5-password|md5-base64)\s+([^;]+)|(ipv[46] unicast));$",
    re.MULTILINE,
)
_BLOCK = re.compile(r"^neighbor (\S+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> dict[str, str]:
    """Find the neighbors' blocks in the text of an exabgp.conf: address -> block."""
    return {found[1]: found[0] for found in _BLOCK.finditer(text)}


def values(block: str) -> frozenset[tuple[str, str]]:
    """Find what a neighbor's block says of its session; two equal ones need no new session."""
    return frozenset((name or family, value) for name, value, family in _VALUES.findall(block))


def merge(before: str, after: str, config: str, reset: Collection[str]) -> tuple[str, list[str]]:
    """Change the text ``before`` to ``after``, but close no sessions besides those to ``reset``.

    Gives the text, and the neighbors whose change was left out.  ``config`` is the hash that the
    text stands for once nothing is left out.
    """
    old = blocks(before)
    left: list[str] = []

    def chosen(found: re.Match[str]) -> str:
        address, block = found[1], found[0]
        there = old.get(address)
        if there is None or address in reset:
            return block
        if values(there) != values(block):
            left.append(address)
        return there

    text = _BLOCK.sub(chosen, after)
    if left:
        # Another name for each step: who starts in the middle must not take it for the end.
        line = speaker.config_line(config)
        text = text.replace(line, line.replace(config, f"{config}-{len(left)}", 1), 1)
    return text, left


def rewrite(
    profile: Profile, directory: str, path: str, reset: Collection[str]
) -> Mapping[str, object]:
    """Write the files and say what was done: the content of ``resettle.Written``.

    Raises SpeakerError where an MD5 file or the directory cannot be used.
    """
    where = Path(directory).absolute()
    conf = where / "exabgp.conf"
    try:
        before = conf.read_text("ascii")
        config = speaker.config_hash(profile)
        whole = speaker.configuration(profile, str(where), speaker.passwords(profile))
        text, left = merge(before, whole, config, reset)
        running = config + (f"-{len(left)}" if left else "")
        settings = speaker.lease_settings(profile, str(where), running, path)
        if text != before:
            speaker.put(conf, text, 0o600)
        # After the other: ExaBGP must know a neighbor before the lease process names it.
        speaker.put(where / "lease.json", json.dumps(settings, indent=1) + "\n")
    except OSError as problem:
        raise speaker.SpeakerError(
            f"{problem.filename or where}: {problem.strerror}", speaker.EX_UNAVAILABLE
        ) from None
    old, new = blocks(before), blocks(text)
    return {
        "v": VERSION,
        "config": running,
        "changed": text != before,
        "fresh": [address for address, block in new.items() if old.get(address) != block],
        "left": left,
    }


def main(argv: list[str]) -> int:
    """Rewrite, and print what was done or why it was not."""
    _, path, directory, *reset = argv
    try:
        accepted = accept(Path(path).read_text("utf-8"), path)
        if accepted.profile is None:
            raise speaker.SpeakerError("\n".join(map(str, accepted.problems)), speaker.EX_CONFIG)
        done = rewrite(accepted.profile, directory, path, reset)
    except (OSError, UnicodeDecodeError) as problem:
        done = {"v": VERSION, "problem": f"{path}: cannot be read: {problem}"}
    except speaker.SpeakerError as problem:
        done = {"v": VERSION, "problem": str(problem)}
    print(json.dumps(done))  # noqa: T201 - the answer to who started it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
