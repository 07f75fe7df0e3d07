"""A running speaker's files for another profile.

``python -m anycastd.rewrite PROFILE DIRECTORY [ADDRESS ...]``: the lease process starts this when
an agent asks for the sessions of the profile on disk.  It writes what disturbs nobody, and of the
sessions that must close for their change only those with the neighbors that are named.  It prints
what it did as one line of JSON (fields are only ever added: after an upgrade an older lease process
reads it).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from anycastd import (
    speaker_directory,
    speaker_exabgp_config,
    system_atomic_file,
    system_exit_codes,
)
from anycastd.profile import Profile
from anycastd.rules import accept
from anycastd.speaker_exabgp_config import blocks, merge

VERSION = 1


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
        config = speaker_exabgp_config.config_hash(profile)
        whole = speaker_exabgp_config.configuration(
            profile, str(where), speaker_directory.passwords(profile)
        )
        text, left = merge(before, whole, config, reset)
        running = config + (f"-{len(left)}" if left else "")
        settings = speaker_directory.lease_settings(profile, str(where), running, path)
        if text != before:
            system_atomic_file.put(conf, text, 0o600)
        # After the other: ExaBGP must know a neighbor before the lease process names it.
        system_atomic_file.put(where / "lease.json", json.dumps(settings, indent=1) + "\n")
    except OSError as problem:
        raise speaker_exabgp_config.SpeakerError(
            f"{problem.filename or where}: {problem.strerror}", system_exit_codes.EX_UNAVAILABLE
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
            raise speaker_exabgp_config.SpeakerError(
                "\n".join(map(str, accepted.problems)), system_exit_codes.EX_CONFIG
            )
        done = rewrite(accepted.profile, directory, path, reset)
    except (OSError, UnicodeDecodeError) as problem:
        done = {"v": VERSION, "problem": f"{path}: cannot be read: {problem}"}
    except speaker_exabgp_config.SpeakerError as problem:
        done = {"v": VERSION, "problem": str(problem)}
    print(json.dumps(done))  # noqa: T201 - the answer to who started it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
