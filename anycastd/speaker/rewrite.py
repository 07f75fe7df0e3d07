"""A running speaker's files for another profile.

``python -m anycastd.speaker.rewrite PROFILE DIRECTORY [ADDRESS ...]``: the lease process starts this when
an agent asks for the sessions of the profile on disk.  It writes what disturbs nobody, and of the
sessions that must close for their change only those with the neighbors that are named.  It prints
what it did as one line of JSON (fields are only ever added: after an upgrade an older lease process
reads it).
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from anycastd.lease.reconfigure import WriteResult, dump_problem
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate
from anycastd.speaker import directory as directory_module
from anycastd.speaker.exabgp import config as config_module
from anycastd.speaker.exabgp.config import merge_config, parse_neighbor_blocks
from anycastd.system import atomic_file, exit_codes


def rewrite_files(
    profile: Profile, directory: str, path: str, reset: Collection[str]
) -> WriteResult:
    """Write the speaker's files for ``profile`` and return what was done.

    Of the sessions that close for their change, only those with the neighbors in ``reset`` are
    changed.  ``path`` is the profile's.

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
        lease_file = directory_module.build_lease_file(profile, str(where), running, path)
        if text != before:
            atomic_file.write_atomic(conf, text, 0o600)
        # After the other: ExaBGP must know a neighbor before the lease process names it.
        atomic_file.write_atomic(where / "lease.json", lease_file.dump())
    except OSError as problem:
        raise exit_codes.ExitError(
            f"{problem.filename or where}: {problem.strerror}", exit_codes.EX_UNAVAILABLE
        ) from None
    old, new = parse_neighbor_blocks(before), parse_neighbor_blocks(text)
    return WriteResult(
        config=running,
        file_changed=text != before,
        changed_neighbors=tuple(
            address for address, block in new.items() if old.get(address) != block
        ),
        deferred_neighbors=tuple(left),
    )


def main(argv: list[str]) -> int:
    """Rewrite, and print what was done or why it was not."""
    _, path, directory, *reset = argv
    try:
        accepted = validate(Path(path).read_text("utf-8"), path)
        if accepted.profile is None:
            raise exit_codes.ExitError("\n".join(map(str, accepted.problems)), exit_codes.EX_CONFIG)
        answer = rewrite_files(accepted.profile, directory, path, reset).dump()
    except (OSError, UnicodeDecodeError) as problem:
        answer = dump_problem(f"{path}: cannot be read: {problem}")
    except exit_codes.ExitError as problem:
        answer = dump_problem(str(problem))
    print(answer)  # noqa: T201 - the answer to who started it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
