"""`anycastd check` on the appliance: what of this machine cannot work, in one line each."""

from __future__ import annotations

import ctypes
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from support.appliance import Appliance, own_network
from support.bird import Bird
from support.checked import BODY, ROOT, VIP, Checked, a_machine, change, check, ip, write_profile
from support.haproxy import Web, run_haproxy

pytestmark = pytest.mark.root


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Give the profile of the machine."""
    return write_profile(tmp_path)


def test_nothing_is_said_of_a_machine_that_fits(profile: Path, tmp_path: Path) -> None:
    """With HAProxy on the VIP and all addresses in place there is no warning of the machine."""
    web = Web()
    with a_machine(), run_haproxy(tmp_path, BODY.replace("PORT", str(web.port))):
        assert check(profile) == []


def test_ipv6(profile: Path, tmp_path: Path) -> None:
    """An appliance with IPv6 alone: nothing is said where it fits, and what does not fit is."""
    change(profile, "local_address: 10.0.2.10", "local_address: fd00:2::10")
    change(profile, "10.0.1.4", "fd00:1::4")
    change(profile, "10.0.1.5", "fd00:1::5")
    change(profile, f"{VIP}/32", "2001:db8::10/128")
    body = BODY.replace(f"{VIP}:80", "[2001:db8::10]:80").replace("PORT", str(Web().port))
    with a_machine():
        ip("address", "add", "fd00:2::10/64", "dev", "nic", "nodad")
        ip("address", "add", "2001:db8::10/128", "dev", "lo", "nodad")
        first, second = check(profile)
        assert first.startswith("neighbor fd00:1::4: there is no route to it from here")
        assert second.startswith("neighbor fd00:1::5: there is no route to it from here")
        ip("-6", "route", "add", "default", "via", "fd00:2::1", "dev", "nic")
        with run_haproxy(tmp_path, body):
            assert check(profile) == []
        ip("address", "add", "2001:db8::1/64", "dev", "nic", "nodad")
        (line,) = check(profile)
        assert "is inside 2001:db8::/64, the subnet of nic: hosts there look for it by NDP" in line


# FC-LOCALADDR (exabgp issues 974 and 362)
def test_a_local_address_that_is_not_here(profile: Path, tmp_path: Path) -> None:
    """A typo in local_address is named with the addresses that may be meant."""
    change(profile, "local_address: 10.0.2.10", "local_address: 10.0.2.99")
    web = Web()
    with a_machine(), run_haproxy(tmp_path, BODY.replace("PORT", str(web.port))):
        (line,) = check(profile)
    assert line == (
        "local_address 10.0.2.99 is not an address of this machine, so no session can start from "
        "it; write one of 10.0.2.10, 192.0.2.10, 192.0.2.4, 192.0.2.5, or configure it"
    )


def test_a_profile_for_another_machine(profile: Path, tmp_path: Path) -> None:
    """On a laptop nothing is said of the machine but that it was not looked at."""
    with own_network():
        checked = Checked(str(profile))
        assert (checked.code, checked.lines, checked.clock) == (0, [], [])
        assert (
            "this machine: not looked at, because 10.0.2.10 (local_address) is not here; "
            "--here looks at it all the same"
        ) in checked.words
        lines = check(profile, "--here")
    assert any(line.startswith("local_address 10.0.2.10 is not an address") for line in lines)
    with a_machine():
        assert Checked(str(profile), "--not-here").lines == []
        # The other region's profile, looked at on this region's appliance.
        other = tmp_path / "other.yaml"
        text = profile.read_text(encoding="utf-8").replace("10.0.2.10", "10.1.2.10")
        text = text.replace("northeurope", "westeurope").replace(
            "    failed:", "    prepend: 3\n    standby: {prepend: 9}\n    failed:"
        )
        other.write_text(text, encoding="utf-8")
        checked = Checked(str(profile), str(other))
        assert checked.words.count("not looked at, because 10.1.2.10") == 1
        assert checked.lines == []


def test_a_neighbor_on_azure_that_is_no_route_server(profile: Path) -> None:
    """An address of the appliance's own subnet is the gateway's or another host's."""
    change(profile, "platform: plain", "platform: azure")
    change(profile, "10.0.1.", "10.0.2.")
    with a_machine():
        first, second = check(profile)
    assert first.startswith("neighbor 10.0.2.4 is in 10.0.2.0/24, the subnet of this machine, and")
    assert second.startswith("neighbor 10.0.2.5 is in 10.0.2.0/24")


def test_vips_in_the_wrong_place(profile: Path) -> None:
    """A VIP that is missing, too wide, on another interface or in a subnet is named."""
    with a_machine():
        ip("address", "delete", f"{VIP}/32", "dev", "lo")
        (line,) = check(profile)
        assert line.startswith(f"VIP {VIP} is not on lo: the agent adds it when it starts")
        ip("address", "add", f"{VIP}/24", "dev", "lo")
        (line,) = check(profile)
        assert line.startswith(f"VIP {VIP} is on lo as {VIP}/24: this machine takes the whole of")
        ip("address", "delete", f"{VIP}/24", "dev", "lo")
        ip("address", "add", f"{VIP}/32", "dev", "nic")
        also, missing = check(profile)
        assert also.startswith(f"VIP {VIP} is also on nic, where the agent does not watch it")
        assert missing.startswith(f"VIP {VIP} is not on lo")
        ip("address", "delete", f"{VIP}/32", "dev", "nic")
        ip("address", "add", f"{VIP}/32", "dev", "lo")
        ip("address", "add", "203.0.113.1/24", "dev", "nic")
        (line,) = check(profile)
        assert line.startswith(f"VIP {VIP} is inside 203.0.113.0/24, the subnet of nic: hosts")
        ip("address", "delete", "203.0.113.1/24", "dev", "nic")
        change(profile, "    failed:", "    interface: vip0\n    failed:")
        (line,) = check(profile)
        assert line == (
            f"VIP {VIP}: there is no interface vip0; create it, or correct `interface` of the "
            "service"
        )


def test_no_way_to_a_neighbor(profile: Path) -> None:
    """A neighbor without a route, one behind a refused route, and one that is this machine."""
    with a_machine():
        ip("route", "delete", "default")
        ip("route", "add", "unreachable", "10.0.1.5/32")
        first, second = check(profile)
        assert first.startswith(
            "neighbor 10.0.1.4: there is no route to it from here (Network is un"
        )
        assert second.startswith(
            "neighbor 10.0.1.5: there is no route to it from here (No route to"
        )
        ip("address", "add", "10.0.1.4/32", "dev", "lo")
        first, second = check(profile)
        assert first == (
            "neighbor 10.0.1.4 is an address of this machine itself; write the router's address"
        )


def test_the_way_back_is_another_interface(profile: Path) -> None:
    """A strict rp_filter on the sessions' interface, with the default route through another one."""
    with a_machine():
        ip("link", "add", "lan", "type", "veth", "peer", "name", "cable2")
        for name in ("lan", "cable2"):
            ip("link", "set", name, "up")
        ip("address", "add", "10.0.9.10/24", "dev", "lan")
        ip("route", "add", "10.0.1.0/24", "via", "10.0.2.1", "dev", "nic")
        ip("route", "replace", "default", "via", "10.0.9.1", "dev", "lan")
        assert check(profile) == []
        setting = Path("/proc/sys/net/ipv4/conf/nic/rp_filter")
        subprocess.run(["sh", "-c", f"echo 1 > {setting}"], check=True)
        (line,) = check(profile)
        assert line == (
            "nic has a strict rp_filter (1), and the default route is through lan: what a client "
            "sends by nic is dropped, unless a route to it leads through nic; "
            "sysctl -w net.ipv4.conf.nic.rp_filter=2, also in /etc/sysctl.d"
        )
        subprocess.run(["sh", "-c", "echo 2 > /proc/sys/net/ipv4/conf/all/rp_filter"], check=True)
        assert check(profile) == []


def test_a_second_bgp_speaker(profile: Path, tmp_path: Path) -> None:
    """A BIRD that waits on port 179 is named with its process."""
    with a_machine(), Bird(tmp_path, "10.0.2.10", 179):
        (line,) = check(profile)
    assert "bird -f -c" in line
    assert "listens on port 179 of " in line
    assert ": a second BGP speaker; see that it does not announce these VIPs" in line


def test_another_program_has_the_session(profile: Path) -> None:
    """A connection to a neighbor's port 179 that is not our speaker's is named."""
    change(profile, "10.0.1.4", "192.0.2.4")
    with (
        a_machine(),
        socket.create_server(("192.0.2.4", 179)),
        socket.create_connection(("192.0.2.4", 179), source_address=("10.0.2.10", 0)),
    ):
        lines = check(profile)
    assert any(
        "has a BGP session with neighbor 192.0.2.4, and is not our speaker" in line
        for line in lines
    ), lines


def test_without_privileges_it_says_what_it_cannot_see(tmp_path: Path) -> None:
    """Another user gets the same warnings but for whose sockets are whose, and no false ones."""
    as_nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import anycastd.cli.commands.check"
    tried = subprocess.run([*as_nobody, sys.executable, "-c", code], check=False)
    if tried.returncode != 0:
        pytest.skip("the user nobody cannot read this directory")
    with tempfile.TemporaryDirectory() as place, a_machine(), Bird(tmp_path, "10.0.2.10", 179):
        Path(place).chmod(0o755)
        path = write_profile(Path(place))
        path.chmod(0o644)
        checked = Checked(str(path), before=as_nobody)
    assert checked.code == 0, checked
    (line,) = checked.lines
    assert line.startswith("another process listens on port 179 of ")
    assert "which process has which socket of port 179 (only root sees it)" in checked.words


def test_our_own_speaker_is_no_second_one(tmp_path: Path) -> None:
    """Beside a whole appliance that announces, check names neither its ExaBGP nor its sessions."""
    with own_network(), Appliance(tmp_path) as appliance:
        appliance.start()
        checked = Checked(str(appliance.profile))
        assert appliance.speaker is not None
        ours = f"(pid {appliance.speaker.pid})"
        appliance.wait_path(1)
    assert checked.code == 0, checked
    assert ours not in checked.errors
    # The test's own peers are on this machine: they are what is named.
    assert any("listens on port 179" in line for line in checked.lines)
    assert not any("has a BGP session" in line and ours in line for line in checked.lines)


def test_a_web_address_that_is_not_here(profile: Path) -> None:
    """The other regions cannot ask at an address that this machine does not have."""
    change(profile, "haproxy:", "web: {listen: 10.0.2.11:9480}\nhaproxy:")
    with a_machine():
        (line,) = check(profile)
    assert line.startswith("web.listen 10.0.2.11:9480 is not an address of this machine")


@pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft: install nftables")
@pytest.mark.parametrize(
    ("chain", "rules", "found"),
    [
        ("output", ["tcp dport 179 counter drop"], "what we send to neighbor 10.0.1.4, port 179"),
        ("input", ["tcp sport 179 reject"], "the answers of neighbor 10.0.1.4, port 179"),
        ("input", ["ct state established accept", "tcp dport 179 drop"], ""),
        ("input", ["ct state vmap { established : accept, invalid : drop }", "drop"], ""),
        ("output", ["ip daddr 10.0.1.0/24 tcp dport 179 accept", "drop"], ""),
        ("output", ["meta mark 5 accept", "drop"], ""),
    ],
)
def test_a_firewall_that_drops_bgp(profile: Path, chain: str, rules: list[str], found: str) -> None:
    """Rules of nftables that drop BGP for certain are named; what may pass is not."""
    with a_machine():
        head = f"add table inet f; add chain inet f c {{ type filter hook {chain} priority 0; }}"
        script = "; ".join([head, *(f"add rule inet f c {rule}" for rule in rules)])
        subprocess.run(["nft", script], check=True)
        lines = check(profile)
    assert [line.partition(":")[0] for line in lines[:1]] == (
        [f"the firewall drops {found}"] if found else []
    )
    assert len(lines) == (2 if found else 0)


def test_the_clock_is_called_what_the_kernel_calls_it(profile: Path) -> None:
    """A clock that is not synchronised is a warning; the kernel's state says whether it is."""
    state = ctypes.CDLL(None).ntp_adjtime((ctypes.c_char * 256)())
    with a_machine():
        checked = Checked(str(profile))
    not_in_step = state == 5  # TIME_ERROR, adjtimex(2)
    assert bool(checked.clock) == not_in_step
    warnings = [each for each in checked.problems if each.startswith("warning: ")]
    assert len(warnings) == len(checked.problems) >= len(checked.lines) + len(checked.clock)
    tail = f"; {len(warnings)} warning{'s' if warnings[1:] else ''} above" if warnings else ""
    assert checked.output.splitlines()[-1] == f"1 profile can be used{tail}"


def test_check_changes_nothing(profile: Path) -> None:
    """Addresses and routes are the same before and after, and no packet is sent."""

    def read() -> list[str]:
        commands = (
            ["ip", "address"],
            ["ip", "route", "show", "table", "all"],
            ["ip", "-s", "link"],
        )
        return [
            subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
            for command in commands
        ]

    with a_machine():
        # The kernel's own first packets (IPv6) are none of ours.
        subprocess.run(
            ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"], check=True
        )
        # The kernel notes the state of a new link a moment later.
        seen, since = read(), time.monotonic()
        while time.monotonic() - since < 1.0:
            if (now := read()) != seen:
                seen, since = now, time.monotonic()
        check(profile)
        assert read() == seen
