"""The packages, installed in two booted regions of the rehearsal network.

The tests run in the order of this file, and each begins where the one before ended.  The commands
are those of docs/install.md.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anycastd.lab.network import adapt
from anycastd.lab.network.azure import AZURE, PRIMARY, REGIONS, SECONDARY
from anycastd.lab.network.namespaces import Nodes
from anycastd.lab.network.topology import VIP
from booted import (
    Site,
    assert_apart,
    assert_checks_work,
    assert_unnoticed,
    documented_commands,
    has_bfd,
    install,
    kill,
    list_files,
    reconfigure,
    start_first_package,
    user_of,
    version_of,
)
from exposure import UNITS, assert_as_documented
from support.peer import wait_for
from systems import ROOT, System, build_first_package, build_packages, make_base_systems

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

SUITES = os.environ.get("ANYCASTD_PACKAGE_SUITES", "bookworm").split()
MULTIHOP = "    multihop;\n"
ONLY_SECONDARY = AZURE.expected_paths({SECONDARY.name: 2})


@pytest.fixture(scope="module")
def packages() -> list[Path]:
    """Return what `make deb` built, one that claims to be the next release, and the first one."""
    (made,) = (ROOT / "dist").glob("anycastd_*_all.deb")
    (lab,) = (ROOT / "dist").glob("anycastd-lab_*_all.deb")
    version = f"{version_of(made)}.post1"
    out = ROOT / "build" / "package-test" / "newer"
    build_packages(out, version)
    first = build_first_package(ROOT / "build" / "package-test" / "first")
    return [made, out / f"anycastd_{version}_all.deb", lab, *([first] if first else [])]


@pytest.fixture(scope="module", params=range(len(SUITES)), ids=lambda number: SUITES[number])
def site(request: pytest.FixtureRequest, packages: list[Path]) -> Iterator[Site]:
    """Boot two systems; with several suites the primary's is each of them in turn."""
    suites = (SUITES[request.param], SUITES[request.param - 1])
    made = make_base_systems(set(suites), packages)
    nodes = Nodes(AZURE.names)
    systems: list[System] = []
    with nodes:
        site = Site(nodes, suites, made)
        systems.extend(site.systems.values())
        yield site
    for system in systems:
        system.sweep()


@pytest.fixture(scope="module")
def before(site: Site) -> list[str]:
    """Return the files of the primary before the installation, with its dependencies installed."""
    needs = ("exabgp", "h11", "jsonschema", "prometheus-client", "six", "tenacity", "yaml")
    python = " ".join(f"python3-{one}" for one in needs)
    site.primary.run(f"apt-get install -y haproxy bird2 {python}; systemctl disable --now bird")
    return list_files(site.primary)


def test_the_installation_announces_nothing(
    site: Site, packages: list[Path], before: list[str]
) -> None:
    """After apt-get install nothing runs, nothing is enabled, there is no VIP and no session."""
    assert before
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: install(one, packages[0]), site.systems.values()))
    for system in site.systems.values():
        for unit in UNITS:
            assert system.state(unit) == "inactive"
            assert system.try_run("systemctl", "is-enabled", unit).stdout.strip() in {
                "disabled",
                "static",
            }
        assert VIP not in system.run("ip address show")
        assert "exabgp" not in system.run("systemctl list-unit-files")
        system.run("systemd-analyze verify --man=no /usr/lib/systemd/system/anycastd*.service")
    assert site.table() == {}


def test_the_documented_way_brings_both_regions_up(site: Site) -> None:
    """The commands of docs/install.md, and the lines that it says to edit, are all it takes."""
    for region, system in zip(REGIONS, site.systems.values(), strict=True):
        copy, *rest = documented_commands("HAProxy")
        system.run(copy)
        text = system.run("cat /etc/haproxy/haproxy.cfg") + "\n"
        for address in region.web:
            text = re.sub(r"(server web\d )10\.0\.3\.\d+:", rf"\g<1>{address}:", text, count=1)
        system.write("/etc/haproxy/haproxy.cfg", text)
        for command in rest:
            system.run(command)
        copy, judge = documented_commands("Profile")
        system.run(copy.replace("primary.yaml", region.profile))
        text = system.run("cat /etc/anycastd/profile.yaml") + "\n"
        socket = "/run/haproxy/anycastd.sock"
        system.write("/etc/anycastd/profile.yaml", adapt.adapt_profile(text, region, socket))
        system.run(judge)
        start, status = documented_commands("Start")
        system.run(start)
        assert system.try_run("sh", "-c", status).returncode in {0, 1, 2}
    site.wait_well()

    def well() -> bool:
        return all(
            one.try_run("anycastd", "status").returncode == 0 for one in site.systems.values()
        )

    wait_for(well, 60, "`anycastd status` to say that all is well")
    site.client.start()
    site.wait_served_by(PRIMARY, time.monotonic())


def test_the_units_have_no_more_power_than_they_need(site: Site) -> None:
    """One capability for the agent and none for the speaker; the page has what else is left."""
    for system in site.systems.values():
        wanted = {"anycastd": 1 << 12, "anycastd-speaker": 0}
        for unit, capabilities in wanted.items():
            status = system.run(f"cat /proc/{system.main_pid(unit)}/status")
            fields = dict(line.split(":", 1) for line in status.splitlines())
            assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == capabilities
            assert fields["Uid"].split()[0] == system.run(f"id -u {unit}")
        assert_as_documented(system)


def test_the_agents_user_can_read_no_password_and_signal_no_speaker(site: Site) -> None:
    """Agent and speaker are two users that share one socket, and nothing else."""
    for system in site.systems.values():
        assert_apart(system)


def test_checks_work_in_the_unit(site: Site) -> None:
    """Each kind of check sees what it has to inside the unit's sandbox; they come by a reload."""
    assert_checks_work(site)


def test_restart_and_crash_of_the_agent_are_not_noticed(site: Site) -> None:
    """Reload, restart and SIGKILL of the agent: no UPDATE, no session closed, the same speaker."""
    system = site.primary
    speaker, agent = system.main_pid("anycastd-speaker"), system.main_pid("anycastd")

    def all_three() -> None:
        system.run("systemctl reload anycastd")
        assert system.main_pid("anycastd") == agent
        system.run("systemctl restart anycastd")
        kill(system, system.main_pid("anycastd"))
        wait_for(lambda: system.state("anycastd") == "active", 30, "the agent to be active")

    assert_unnoticed(site, all_three)
    assert system.main_pid("anycastd") != agent
    assert system.main_pid("anycastd-speaker") == speaker


def test_a_crash_of_the_lease_process_is_not_noticed(site: Site) -> None:
    """SIGKILL of ExaBGP's child: no UPDATE, no session closed."""
    system = site.primary
    speaker = system.main_pid("anycastd-speaker")
    assert_unnoticed(site, lambda: kill(system, int(system.run(f"pgrep -P {speaker}"))))
    assert system.main_pid("anycastd-speaker") == speaker


def test_a_crash_of_exabgp_moves_the_region_and_comes_back(site: Site) -> None:
    """SIGKILL of ExaBGP: its routes are gone at once, systemd starts it, and they come back."""
    began_at = time.monotonic()
    kill(site.primary, site.primary.main_pid("anycastd-speaker"))
    assert site.wait_withdrawn(began_at) - began_at < 1
    site.wait_well()


def test_haproxy_stopped_and_started_again(site: Site) -> None:
    """The region fails over when HAProxy is stopped, and comes back when it is started."""
    began_at = time.monotonic()
    site.primary.run("systemctl stop haproxy")
    site.wait_served_by(SECONDARY, began_at)
    site.wait_table(ONLY_SECONDARY)
    assert site.primary.try_run("anycastd", "status").returncode == 2
    site.wait_withdrawn(began_at)
    site.primary.run("systemctl start haproxy")
    site.wait_well()


def test_a_frozen_agent_loses_its_routes_and_is_revived(site: Site) -> None:
    """SIGSTOP: withdrawn at the end of the lease; the watchdog ends it, and it comes back."""
    system, began_at = site.primary, time.monotonic()
    agent = system.main_pid("anycastd")
    kill(system, agent, signal.SIGSTOP)
    site.wait_served_by(SECONDARY, began_at)
    assert 3 < site.wait_withdrawn(began_at) - began_at < 12  # the lease is 5 s
    wait_for(lambda: system.main_pid("anycastd") not in {0, agent}, 60, "the watchdog")
    assert system.run("systemctl show -p NRestarts --value anycastd-speaker") == "1"
    site.wait_well()


def test_upgrade_and_downgrade_are_not_noticed(site: Site, packages: list[Path]) -> None:
    """The package takes the agent along under traffic: same processes, no UPDATE, no lost request.

    When the speaker's code on disk is not what runs, apt says so and leaves it alone.
    """
    system = site.primary
    kept = system.main_pid("anycastd"), system.main_pid("anycastd-speaker")
    output = []
    assert_unnoticed(site, lambda: output.append(install(system, packages[1])))
    assert "speaker" not in output[0]
    assert site.status(system)["version"] == version_of(packages[1])
    system.run("echo another >/run/anycastd-speaker/code")
    system.run(f"cp /packages/{packages[0].name} /root")
    command = f"apt-get install -y --allow-downgrades /root/{packages[0].name}"
    assert_unnoticed(site, lambda: output.append(system.run(command)))
    assert "systemctl restart anycastd-speaker" in output[1]
    assert site.status(system)["version"] == version_of(packages[0])
    assert (system.main_pid("anycastd"), system.main_pid("anycastd-speaker")) == kept


def test_an_upgrade_that_cannot_take_over_changes_nothing(site: Site, packages: list[Path]) -> None:
    """The new code refuses the profile on disk: apt says so, the old agent goes on."""
    system = site.primary
    system.run("cp /etc/anycastd/profile.yaml /root; echo nonsense: 1 >>/etc/anycastd/profile.yaml")
    output = []
    assert_unnoticed(site, lambda: output.append(install(system, packages[1])))
    assert "could not take over" in output[0]
    assert site.status(system)["version"] == version_of(packages[0])
    system.run("cp /root/profile.yaml /etc/anycastd/profile.yaml")
    assert_unnoticed(site, lambda: system.run("systemctl reload anycastd"))
    assert site.status(system)["version"] == version_of(packages[1])


def test_a_profile_that_cannot_be_used_is_not_tried_again(site: Site) -> None:
    """A start with a wrong profile ends with 78, once; the routes are gone, and come back."""
    system = site.primary
    system.run("echo nonsense: 1 >>/etc/anycastd/profile.yaml")
    assert system.try_run("systemctl", "restart", "anycastd").returncode != 0
    site.wait_table(ONLY_SECONDARY)
    show = "systemctl show -p ActiveState,ExecMainStatus,NRestarts --value anycastd"
    assert sorted(system.run(show).split()) == ["0", "78", "failed"]
    wait_for(lambda: system.state("anycastd-speaker") == "inactive", 30, "the speaker to end")
    system.run("cp /root/profile.yaml /etc/anycastd/profile.yaml; systemctl start anycastd")
    site.wait_well()


def test_what_fails_again_and_again_is_started_less_often(site: Site) -> None:
    """Three failures are free, then 1, 2 and 5 s; systemd never gives up, the sessions stay up."""
    system = site.primary
    speaker = system.main_pid("anycastd-speaker")
    folder = "/run/systemd/system/anycastd.service.d"
    system.run(f"mkdir -p {folder}")
    fail = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'exit 69'\n"
    system.write(f"{folder}/fail.conf", fail)
    system.run("systemctl daemon-reload")
    began_at = time.monotonic()
    kill(system, system.main_pid("anycastd"))

    def restarts() -> int:
        return int(system.run("systemctl show --property NRestarts --value anycastd"))

    wait_for(lambda: restarts() >= 3, 20, "three starts")
    assert time.monotonic() - began_at < 4
    wait_for(lambda: restarts() >= 6, 30, "three more")
    assert time.monotonic() - began_at > 8
    assert system.state("anycastd") != "failed"
    assert system.main_pid("anycastd-speaker") == speaker
    system.run(f"rm -r {folder}; systemctl daemon-reload")
    site.wait_well()
    assert system.main_pid("anycastd-speaker") == speaker


def test_stop_ends_both_and_start_begins_again(site: Site) -> None:
    """One `systemctl stop` withdraws and ends agent and speaker; the VIP stays for HAProxy."""
    system, began_at = site.primary, time.monotonic()
    system.run("systemctl stop anycastd")
    site.wait_withdrawn(began_at)
    wait_for(lambda: system.state("anycastd-speaker") == "inactive", 30, "the speaker to end")
    assert VIP in system.run("ip address show dev lo")
    site.wait_served_by(SECONDARY, began_at)
    system.run("systemctl start anycastd")
    site.wait_well()


def test_an_md5_password_that_only_root_can_read(site: Site) -> None:
    """LoadCredential= hands it to the speaker, and the sessions come up with it."""
    system = site.secondary
    reconfigure(site, SECONDARY, (MULTIHOP, f'{MULTIHOP}    password "s3cret";\n'))
    wait_for(lambda: SECONDARY.gateways[0] not in site.table(), 40, "the sessions to go")
    system.run("echo s3cret >/root/ars; chmod 600 /root/ars")
    system.run("mkdir -p /etc/systemd/system/anycastd-speaker.service.d")
    drop_in = "/etc/systemd/system/anycastd-speaker.service.d/override.conf"
    system.write(drop_in, "[Service]\nLoadCredential=ars0:/root/ars\n")
    system.run(
        "cd /etc/anycastd; sed -i 's|peer_as: 65515}|peer_as: 65515, md5_file: "
        "/run/credentials/anycastd-speaker.service/ars0}|; s/^platform: azure/platform: plain/'"
        " profile.yaml; systemctl daemon-reload;"
        "systemctl restart anycastd-speaker; systemctl reload anycastd"
    )
    site.wait_well()


def test_an_upgrade_from_one_user_to_two(site: Site, packages: list[Path]) -> None:
    """Nothing is noticed before the speaker is restarted; then the passwords are its own.

    A drop-in of the operator is there from the test before.
    """
    if len(packages) < 4:
        pytest.skip("no history here: an export, or a shallow clone")
    system = site.secondary
    start_first_package(system, SECONDARY, packages[3].name)
    site.wait_well()
    assert user_of(system, "anycastd-speaker") == "anycastd"
    output = []
    assert_unnoticed(site, lambda: output.append(install(system, packages[0])), SECONDARY)
    assert "a user of its own" in output[0]
    # The running speaker can still read its passwords, for a profile that has changed.
    assert_unnoticed(site, lambda: system.run("systemctl reload anycastd"), SECONDARY)
    assert system.run("stat -c %G /etc/anycastd/secrets/ars0") == "anycastd"
    agent = system.main_pid("anycastd")
    system.run("systemctl restart anycastd-speaker")
    wait_for(lambda: system.main_pid("anycastd") not in {0, agent}, 20, "the agent's new group")
    site.wait_well()
    assert_apart(system)
    modes = system.run("stat -c '%a %U %G' /etc/anycastd/secrets /etc/anycastd/secrets/ars0")
    assert modes.split("\n") == ["750 root anycastd-speaker", "640 root anycastd-speaker"]
    speaker = system.main_pid("anycastd-speaker")
    assert_unnoticed(site, lambda: system.run("systemctl restart anycastd"), SECONDARY)
    assert system.main_pid("anycastd-speaker") == speaker


def test_bfd_notices_the_silent_death_of_the_host(site: Site) -> None:
    """With the sidecar a neighbor notices it before the hold time; a crash of it mends itself.

    The commands are those of docs/bfd.md.
    """
    system = site.primary
    system.run("cp /etc/anycastd/profile.yaml /root/plain.yaml")
    system.run("; ".join(documented_commands("", "bfd.md")[:2]))
    system.run(
        "sed -i 's/^platform: azure/platform: plain/; s/^  hold_time:/  bfd: {interval: 0.3}\\n&/'"
        " /etc/anycastd/profile.yaml"
    )
    assert_unnoticed(site, lambda: system.run("systemctl reload anycastd"))
    system.run(documented_commands("", "bfd.md")[-1])
    assert system.state("bird") == "inactive"
    fast = 'protocol bfd { interface "eth0" { interval 300 ms; multiplier 3; }; }\n'
    begin = "protocol bgp nva from peering {"
    reconfigure(site, PRIMARY, (begin, fast + begin), (MULTIHOP, "    direct;\n    bfd on;\n"))
    try:
        wait_for(lambda: has_bfd(site), 30, "BFD to be up on both route servers")
    except AssertionError as error:
        output = system.try_run("journalctl", "--no-pager", "-u", "anycastd-bfd").stdout
        raise AssertionError(f"{error}\n{output}") from None
    site.wait_well()
    vnet, began_at = PRIMARY.node("vnet"), time.monotonic()
    site.nodes.run(vnet, "ip", "link", "set", "nva", "down")
    took = site.wait_withdrawn(began_at) - began_at
    site.nodes.run(vnet, "ip", "link", "set", "nva", "up")
    sys.stdout.write(f"silent death noticed after {took:.2f} s\n")
    assert took < 4  # the hold time is 9 s
    site.wait_well()
    sidecar, began_at = system.main_pid("anycastd-bfd"), time.monotonic()
    kill(system, sidecar)
    site.wait_withdrawn(began_at)
    wait_for(lambda: system.main_pid("anycastd-bfd") not in {0, sidecar}, 20, "the next sidecar")
    wait_for(lambda: has_bfd(site), 30, "BFD to be up again")
    site.wait_well()
    sidecar = system.main_pid("anycastd-bfd")
    kill(system, system.main_pid("anycastd-speaker"))
    site.wait_table(ONLY_SECONDARY)
    site.wait_well()
    system.run("systemctl reload anycastd-bfd; systemctl restart anycastd")
    assert system.main_pid("anycastd-bfd") == sidecar
    reconfigure(site, PRIMARY)
    system.run("systemctl disable anycastd-bfd; cp /root/plain.yaml /etc/anycastd/profile.yaml")
    system.run("systemctl stop anycastd")
    wait_for(lambda: system.state("anycastd-bfd") == "inactive", 30, "the sidecar to end")
    system.run("systemctl start anycastd")
    site.wait_well()


def test_the_lab_is_a_package_of_its_own(site: Site) -> None:
    """Without it `anycastd lab` names it; with it both regions come up as installed.

    tests/lab has the tests of the other steps.
    """
    system = site.secondary
    done = system.try_run("anycastd", "lab")
    assert (done.returncode, done.stdout.strip()) == (
        69,
        "anycastd: the lab is a separate package: install anycastd-lab",
    )
    system.run("cp /packages/anycastd-lab_*_all.deb /root/new; apt-get install -y /root/new/*.deb")
    story = json.loads(system.run("anycastd lab --json 2>/dev/null || true"))
    assert story["steps"][0]["passed"], story


def test_a_reboot_withdraws_first_and_comes_up_by_itself(site: Site) -> None:
    """The route goes before HAProxy stops; a HAProxy that binds the VIP starts all the same."""
    system = site.primary
    system.run(f"sed -i 's/^    bind :80$/    bind {VIP}:80/' /etc/haproxy/haproxy.cfg")
    system.run("systemctl restart haproxy")
    site.wait_well()
    site.wait_served_by(PRIMARY, time.monotonic())
    began_at = time.monotonic()
    system.reboot()
    site.wait_served_by(SECONDARY, began_at)
    # A request that HAProxy, which was gone already, refused would say that the order was wrong;
    # those that were open when the route moved are reset by the other region: anycast's own loss.
    refused = [one for one in site.client.results(began_at) if "refused" in one.detail]
    assert refused == []
    system.up()
    assert f"{VIP}:80" in system.run("ss -ltn")
    site.wait_well()
    assert system.try_run("systemctl", "is-system-running").stdout.strip() == "running"


def test_removal_and_purge_leave_nothing(site: Site, before: list[str]) -> None:
    """Remove withdraws, then stops; purge takes the VIP too, and the files are as they were."""
    system, began_at = site.primary, time.monotonic()
    remove, *_ = documented_commands("Remove")
    system.run(remove)
    site.wait_served_by(SECONDARY, began_at)
    site.wait_withdrawn(began_at)
    assert system.run("pgrep -u anycastd,anycastd-speaker || true") == ""
    assert VIP in system.run("ip address show dev lo")
    system.run(documented_commands("Remove")[1])
    assert VIP not in system.run("ip address show; ip route show")
    after = list_files(system)
    assert sorted(set(after) - set(before)) == []
    assert sorted(set(before) - set(after)) == []
