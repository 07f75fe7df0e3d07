"""Whoever has a spare socket can ask although the process may open no more descriptors."""

from __future__ import annotations

import socket

import pytest

from anycastd.system.spare_socket import SpareSocket
from support.descriptors import no_free_descriptor


def test_the_reserve_stands_in_again_and_again() -> None:
    """Each socket is closed before the next one is opened, so that one reserve is enough."""
    sockets = SpareSocket()
    with sockets.open():
        pass
    with no_free_descriptor():
        for _ in range(5):
            with pytest.raises(OSError, match="Too many open files"):
                socket.socket()
            with sockets.open() as sock:
                assert sock.fileno() >= 0
            assert sock.fileno() == -1
    sockets.close()


def test_without_a_reserve_the_lack_is_an_error() -> None:
    """Nothing is hidden: the caller hears of it."""
    sockets = SpareSocket()
    with no_free_descriptor(), pytest.raises(OSError, match="Too many open"), sockets.open():
        pass
    sockets.close()
