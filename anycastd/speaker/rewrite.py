"""A running speaker's files for another profile.

``python -m anycastd.speaker.rewrite PROFILE DIRECTORY [ADDRESS ...]``: the lease process starts this when
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

from anycastd.profile.model import Profile
from anycastd.profile.validate import validate
from anycastd.speaker import directory as directory_module
from anycastd.speaker.exabgp import config as config_module
from anycastd.speaker.exabgp.config import merge_config, parse_neighbor_blocks
from anycastd.system import atomic_file, exit_codes

VERSION = 1


def rewrite_files(
    profile: Profile, directory: str, path: str, reset: Collection[str]
) -> Mapping[str, object]:
    """Write the files and say what was done: the content of ``resettle.Written``.

    Raises ExitError where an MD5 file or the directory cannot be used.
    """
    where = Path(directory).absolute()
    conf = where / "exabgp.conf"
    try:
        before = conf.read_text("ascii")
        config = config_module.config_hash(profile)
        whole = config_module.build_config(
            profile, str(where), directory_module.read_passwords(profile)
        )
        text, left = merge_config(before, whole, config, reset)
        running = config + (f"-{len(left)}" if left else "")
        settings = directory_module.lease_settings(profile, str(where), running, path)
        if text != before:
            atomic_file.write_atomic(conf, text, 0o600)
        # After the other: ExaBGP must know a neighbor before the lease process names it.
        atomic_file.write_atomic(where / "lease.json", json.dumps(settings, indent=1) + "\n")
    except OSError as problem:
        raise exit_codes.ExitError(
            f"{problem.filename or where}: {problem.strerror}", exit_codes.EX_UNAVAILABLE
        ) from None
    old, new = parse_neighbor_blocks(before), parse_neighbor_blocks(text)
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
        accepted = validate(Path(path).read_text("utf-8"), path)
        if accepted.profile is None:
            raise exit_codes.ExitError("\n".join(map(str, accepted.problems)), exit_codes.EX_CONFIG)
        done = rewrite_files(accepted.profile, directory, path, reset)
    except (OSError, UnicodeDecodeError) as problem:
        done = {"v": VERSION, "problem": f"{path}: cannot be read: {problem}"}
    except exit_codes.ExitError as problem:
        done = {"v": VERSION, "problem": str(problem)}
    print(json.dumps(done))  # noqa: T201 - the answer to who started it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
