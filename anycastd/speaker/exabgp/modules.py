"""ExaBGP's modules, and the checks that they are as the patches expect them (stdlib + exabgp)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import FunctionType, ModuleType

KNOWN_RELEASES = ("4.2.", "5.0.")
"""Beginnings of the releases that the patches were measured with: 4.2.21, 4.2.25, 5.0.15."""

ApplyPatch = Callable[[], None]
"""A function that changes ExaBGP.

A patch is a function that checks whether ExaBGP is as it expects, changes nothing, and returns one
of these.
"""


class UnknownExabgpError(Exception):
    """ExaBGP is missing, or is not as the patches expect it; the message says what to do."""


def load_module(name: str) -> ModuleType:
    """Import a module of ExaBGP; raises UnknownExabgpError where it cannot be imported."""
    try:
        return import_module(name)
    except ImportError as problem:
        raise UnknownExabgpError(
            f"ExaBGP cannot be imported by {sys.executable} ({problem}): "
            "apt install python3-exabgp, or pip install exabgp"
        ) from None


def read_release() -> str:
    """Return ExaBGP's release, such as 4.2.25.

    Raises UnknownExabgpError where ExaBGP is missing, or its release is none of
    ``KNOWN_RELEASES``; AttributeError where ExaBGP does not say its release.
    """
    release = str(load_module("exabgp.version").release)
    if not release.startswith(KNOWN_RELEASES):
        raise UnknownExabgpError(f"ExaBGP {release} is not known: install 4.2 or 5.0")
    return release


def require_names(function: FunctionType, *names: str) -> None:
    """Check that the code of a function uses all ``names``.

    Raises AttributeError where a name is missing, or ``function`` is not written in Python.
    A patch relies on what the function does, and the names that it uses show this best.
    """
    missing = sorted(set(names) - set(function.__code__.co_names))
    if missing:
        where = f"{function.__module__}: {function.__qualname__}"
        raise AttributeError(f"{where} does not use {', '.join(missing)}")
