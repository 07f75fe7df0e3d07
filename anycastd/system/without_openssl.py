"""Import modules without OpenSSL, which the agent does not use (stdlib only).

hashlib, hmac and asyncio work in a Python that was built without it.  OpenSSL would cost the agent
5 MB and 10 ms.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

_OPENSSL = ("ssl", "_hashlib")
"""The modules that load OpenSSL; importing one that is None in sys.modules is an ImportError."""
_OWN_HASHES = ("_md5", "_sha1", "_blake2", "_sha3", "_sha2")
"""Python's own hashes: hashlib complains in the log where one is missing."""


def import_without_openssl(*names: str) -> None:
    """Import modules as in a Python without OpenSSL: nothing happens to those that are loaded.

    Whoever imports ssl later gets it.
    """
    left_out = [name for name in _OPENSSL if name not in sys.modules]
    if "_hashlib" in left_out and not _has_own_hashes():
        left_out.remove("_hashlib")
    for name in left_out:
        # As the import system documents it; the type stubs do not.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        for name in left_out:
            del sys.modules[name]


def _has_own_hashes() -> bool:
    names = set(_OWN_HASHES)
    if sys.version_info < (3, 12):
        names = names - {"_sha2"} | {"_sha256", "_sha512"}
    return all(find_spec(name) is not None for name in names)
