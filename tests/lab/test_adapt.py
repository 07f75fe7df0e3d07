"""Tests that the shipped files get the lab's addresses and that nothing else in them changes."""

from __future__ import annotations

import pytest
import yaml

from anycastd.lab.network import adapt, shipped_files
from anycastd.lab.network.azure import PRIMARY, REGIONS, SECONDARY, Region
from anycastd.lab.network.namespaces import LabError

SOCKET = "/tmp/lab/haproxy/anycastd.sock"  # noqa: S108 - a text, nothing is made there


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)
def test_the_shipped_profile_becomes_the_regions(region: Region) -> None:
    """Addresses, socket and timers are the lab's; every other value is the shipped one."""
    text = shipped_files.find_shipped(f"profiles/{region.profile}").read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    filled = yaml.safe_load(adapt.adapt_profile(text, region, SOCKET, adapt.RETURN_TIMERS))
    wanted["region"] = region.name
    wanted["networks"] = [region.vnet]
    wanted["bgp"]["router_id"] = wanted["bgp"]["local_address"] = region.nva
    for neighbor, address in zip(wanted["bgp"]["neighbors"], region.ars, strict=True):
        neighbor["address"] = address
    wanted["haproxy"]["main"]["socket"] = SOCKET
    wanted["services"]["web"]["return"] = adapt.RETURN_TIMERS
    wanted["services"]["web"]["degraded"]["fall"] = adapt.DEGRADED_FALL
    assert filled == wanted


def test_the_graded_profile_becomes_a_storys() -> None:
    """The session limit and the map are the lab's; the return stays manual."""
    text = shipped_files.find_shipped("profiles/graded.yaml").read_text(encoding="utf-8")
    filled = yaml.safe_load(adapt.adapt_profile(text, PRIMARY, SOCKET, adapt.RETURN_TIMERS))
    (service,) = filled["services"].values()
    (limit,) = [one for one in service["healthy"]["all"] if "sessions_below" in one]
    assert limit["sessions_below"] == adapt.SESSION_LIMIT
    assert service["maintenance"]["map"] == "/tmp/lab/haproxy/maintenance.map"  # noqa: S108
    assert service["return"] == {"manual": True, **adapt.RETURN_TIMERS}


def test_everything_else_stays_to_the_letter() -> None:
    """Comments, block style and values that YAML versions read differently are kept."""
    text = """\
region: here  # a comment
bgp:
  router_id: 10.0.0.1
  local_address: 10.0.0.1   # the same address twice
  neighbors:
    - address: 10.0.1.4
      communities: [65535:0, off]
    - {address: 10.0.1.5}
haproxy: {main: {socket: /s}}
services:
  web:
    vip: 192.0.2.9/32
    return:
      rise: 10
      hold_down: 60   # gone with the block

    failed: withdraw
"""
    assert (
        adapt.adapt_profile(text, SECONDARY, SOCKET, {"rise": 1})
        == """\
region: westeurope  # a comment
bgp:
  router_id: 172.16.136.70
  local_address: 172.16.136.70   # the same address twice
  neighbors:
    - address: 172.16.139.4
      communities: [65535:0, off]
    - {address: 172.16.139.5}
haproxy: {main: {socket: /tmp/lab/haproxy/anycastd.sock}}
services:
  web:
    vip: 203.0.113.10/32
    return:
      {rise: 1}   # gone with the block

    failed: withdraw
"""
    )


def test_a_return_by_hand_stays_one_in_its_short_form() -> None:
    """`return: manual` becomes the long form with `manual: true`."""
    text = shipped_files.find_shipped("profiles/primary.yaml").read_text(encoding="utf-8")
    back = text[text.index("    return: {") :].splitlines()[0]
    filled = yaml.safe_load(
        adapt.adapt_profile(text.replace(back, "    return: manual"), PRIMARY, SOCKET)
    )
    assert filled["services"]["web"]["return"] == {"manual": True, **adapt.RETURN_TIMERS}


def test_timers_may_stay() -> None:
    """Without return timers to fill in, the profile's own stay."""
    text = shipped_files.find_shipped("profiles/primary.yaml").read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)["services"]["web"]["return"]
    filled = yaml.safe_load(adapt.adapt_profile(text, PRIMARY, SOCKET, None))
    assert filled["services"]["web"]["return"] == wanted


def test_a_profile_of_another_shape_is_refused() -> None:
    """An unsuitable profile is refused with the missing key and exit code 78."""
    text = shipped_files.find_shipped("profiles/primary.yaml").read_text(encoding="utf-8")
    with pytest.raises(LabError, match=r"no 'bgp\.local_address'") as caught:
        adapt.adapt_profile(text.replace("local_address:", "elsewhere:"), PRIMARY, SOCKET)
    assert caught.value.code == 78


@pytest.mark.parametrize("fast", [False, True])
def test_the_shipped_haproxy_file_becomes_the_regions(fast: bool) -> None:
    """Sockets, map, servers, user and the chosen checks are the lab's; all else stays."""
    shipped = shipped_files.find_shipped("haproxy/haproxy.cfg").read_text(encoding="utf-8")
    # The comments that the lab turns into settings.
    for line in ("stats socket /run/haproxy/admin.sock", "http-request return status 503"):
        assert shipped.count(f"#{line}") == 1
        shipped = shipped.replace(f"#{line}", line)
    old = [line.split("#")[0].split() for line in shipped.splitlines()]
    new = [
        line.split()
        for line in adapt.adapt_haproxy_file(shipped, PRIMARY, SOCKET, fast=fast).splitlines()
    ]
    changed = [
        (before, after)
        for before, after in zip(
            [columns for columns in old if columns and columns[:2] != ["log", "/dev/log"]],
            [columns for columns in new if columns],
            strict=True,
        )
        if before != after
    ]
    sockets = [after[2] for before, after in changed if before[:2] == ["stats", "socket"]]
    assert sockets == [SOCKET, "/tmp/lab/haproxy/admin.sock"]  # noqa: S108
    (page,) = [after for before, after in changed if before[0] == "http-request"]
    assert "str(web),map_str(/tmp/lab/haproxy/maintenance.map,off)" in page
    servers = [after[2] for before, after in changed if before[0] == "server"]
    assert servers == [f"{address}:80" for address in PRIMARY.web]
    backends = [after[-1] for before, after in changed if before[0] == "backend"]
    assert backends == (["fast"] if fast else [])
    other_keywords = {before[0] for before, _ in changed} - {
        "stats",
        "server",
        "backend",
        "http-request",
    }
    assert other_keywords == {"user", "group"}


def test_a_haproxy_file_of_another_shape_is_refused() -> None:
    """A file with three servers is refused with exit code 78."""
    text = shipped_files.find_shipped("haproxy/haproxy.cfg").read_text(encoding="utf-8")
    with pytest.raises(LabError, match="3 servers") as caught:
        adapt.adapt_haproxy_file(
            text + "\n    server more 10.0.3.13:80\n", PRIMARY, SOCKET, fast=False
        )
    assert caught.value.code == 78


def test_a_missing_file_says_where_it_was_looked_for() -> None:
    """If neither the source tree nor the installation has the file, both paths are named."""
    with pytest.raises(
        shipped_files.MissingFileError, match=r"neither .*/profiles/nosuch\.yaml nor .*"
    ):
        shipped_files.find_shipped("profiles/nosuch.yaml")
