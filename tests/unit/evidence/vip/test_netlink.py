"""Messages of netlink that nobody should get: read in bounded time, or refused with OSError."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import time
from collections.abc import Callable, Coroutine
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycastd.evidence.vip.netlink import NetlinkSocket, parse_changes

InOwnNetwork = Callable[[Callable[[], Coroutine[None, None, None]]], None]


def build_message(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Build a message of netlink; ``length``: what its header says."""
    return struct.pack("=IHHII", 16 + len(body) if length is None else length, kind, 0, 0, 0) + body


def build_link(name: bytes) -> bytes:
    """Build the message that an interface was added."""
    attribute = struct.pack("=HH", 4 + len(name) + 1, 3) + name + b"\0"
    body = struct.pack("=BxHiII", 0, 0, 7, 0, 0) + attribute
    return build_message(16, body + b"\0" * (-len(body) % 4))


def build_address(packed: bytes) -> bytes:
    """Build the message that an address was removed."""
    attribute = struct.pack("=HH", 4 + len(packed), 2) + packed
    return build_message(21, struct.pack("=BBBBi", 2, 32, 0, 0, 1) + attribute)


ADDRESS = ip_address("203.0.113.10")


def test_a_name_that_is_not_utf8_hides_no_other_change() -> None:
    """The kernel allows such names; the address that was removed is still seen."""
    found = parse_changes(build_address(ADDRESS.packed) + build_link(b"\xff\xfebad"))
    assert found == {ADDRESS, os.fsdecode(b"\xff\xfebad")}


@pytest.mark.parametrize("length", [0, 1, 15, 17, 64, 0xFFFFFFFF])
def test_a_wrong_length_is_an_error(length: int) -> None:
    """A message of length 0 was read for ever."""
    with pytest.raises(OSError, match="wrong length"):
        parse_changes(build_message(16, b"", length))


def test_an_address_of_another_family_is_no_address() -> None:
    """Its length says so."""
    assert parse_changes(build_address(b"\0" * 8) + build_link(b"lo")) == {"lo"}


MESSAGES = st.binary(max_size=80) | st.builds(
    build_message,
    st.sampled_from([2, 3, 16, 17, 20, 21]),
    st.binary(max_size=60),
    st.none() | st.integers(0, 100),
)


@given(st.lists(MESSAGES, min_size=1, max_size=4))
def test_any_message_is_read_or_refused(datagrams: list[bytes]) -> None:
    """Within a second of CPU time, and nothing else is raised than the reader's caller handles."""
    began = time.thread_time()
    with contextlib.suppress(OSError, ValueError, struct.error):
        parse_changes(b"".join(datagrams))
    assert time.thread_time() - began < 1


@pytest.mark.root
def test_an_interface_whose_name_is_not_utf8(in_own_network: InOwnNetwork) -> None:
    """The addresses of the others are listed."""

    async def work() -> None:
        name = b"\xff\xfebad"
        command = [b"ip", b"link", b"add", name, b"type", b"veth", b"peer", b"name", b"other"]
        subprocess.run(command, check=True)  # noqa: ASYNC221
        subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "other"], check=True)  # noqa: ASYNC221
        kernel = NetlinkSocket()
        try:
            assert ip_address("192.0.2.1") in {address for _, address in kernel.list_addresses()}
        finally:
            kernel.close()

    in_own_network(work)
