"""Write a running speaker's files again, for the profile that is on disk now.

The lease process starts ``python -m anycastd.speaker.rewrite PROFILE DIRECTORY [ADDRESS ...]``
when an agent asks for a reconfiguration.  Changes that close no session are written.  A change that
closes a session is written only for the neighbors whose ADDRESS is given.

The result is printed as one line of JSON, see ``rewrite_files``.  Fields are only ever added: after
an upgrade an older lease process reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from anycastd.lease.reconfigure import WriteResult, dump_problem
from anycastd.profile.model import Profile
from anycastd.profile.validate import validate_profile
from anycastd.speaker import directory as directory_module
from anycastd.speaker.exabgp import config as config_module
from anycastd.speaker.exabgp.config import merge_config, parse_neighbor_blocks
from anycastd.system import atomic_file, exit_codes


def rewrite_files(
    profile: Profile, directory: str, path: str, reset: Collection[str]
) -> WriteResult:
    """Write exabgp.conf and lease.json for ``profile``, and return what was done.

    A change that closes a session is written for the neighbors in ``reset`` only.  ``path`` is the
    profile's.

    Raises ExitError where the directory (69), an MD5 file or a path (78) cannot be used, and
    UnicodeDecodeError where the exabgp.conf that is there is not ASCII.
    """
    where = Path(directory).absolute()
    conf = where / "exabgp.conf"
    try:
        before = conf.read_text("ascii")
        config = config_module.config_hash(profile)
        after = config_module.build_config(
            profile,
            directory_module.lease_command(str(where)),
            directory_module.read_passwords(profile),
        )
        text, deferred = merge_config(before, after, config, reset)
        running = config + (f"-{len(deferred)}" if deferred else "")
        lease_file = directory_module.keep_last_routes(
            directory_module.build_lease_file(profile, str(where), running, path),
            where / "lease.json",
        )
        if text != before:
            atomic_file.write_atomic(conf, text, 0o600)
        # After exabgp.conf: ExaBGP must know a neighbor before the lease process uses it.
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
        deferred_neighbors=tuple(deferred),
    )


def main(argv: list[str]) -> int:
    """Rewrite the files, and print the result or the problem as one line of JSON.

    ``argv`` is as in the module's text.  Returns 0 in both cases.  Raises ValueError without a
    profile and a directory.
    """
    _, path, directory, *reset = argv
    try:
        validation = validate_profile(Path(path).read_text("utf-8"), path)
        if validation.profile is None:
            raise exit_codes.ExitError(
                "\n".join(map(str, validation.problems)), exit_codes.EX_CONFIG
            )
        answer = rewrite_files(validation.profile, directory, path, reset).dump()
    except (OSError, UnicodeDecodeError) as problem:
        answer = dump_problem(f"{path}: cannot be read: {problem}")
    except exit_codes.ExitError as problem:
        answer = dump_problem(str(problem))
    print(answer)  # noqa: T201 - the lease process reads it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
