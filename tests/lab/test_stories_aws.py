"""The story of an AWS VPC Route Server, in its short form; its endpoints are FRR."""

from __future__ import annotations

import shutil

import pytest

from anycastd.lab.network import frr
from support.lab_stories import play_story, read_best, read_paths

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not all(map(shutil.which, frr.PROGRAMS)), reason="FRR is not installed"),
]

FIRST, SECOND = "10.0.1.203", "10.0.2.203"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_zones_of_aws() -> None:
    """One winner in the route table; a dead host is noticed by BFD; persist-routes is shown."""
    steps = play_story("aws")
    assert list(steps) == ["baseline", "host-dead", "host-back", "persist-routes"]
    both = {FIRST: "65001", SECOND: "65001 65001 65001"}
    for name in ("baseline", "host-back"):
        (table,) = steps[name]["tables"]
        assert read_paths(table) == both
        assert read_best(table) == {FIRST}
    checks = {check["criterion"]: check["saw"] for check in steps["baseline"]["checks"]}
    assert "4 advertisements" in checks["of four advertisements the route table has one"]
    assert "persist-routes" in checks["`anycastd check` asks for persist-routes to be off"]
    (table,) = steps["host-dead"]["tables"]
    assert read_paths(table) == {SECOND: "65001 65001 65001"}
    times = {one["name"]: one["seconds"] for one in steps["host-dead"]["times"]}
    assert times["switched"] > 0.3
    (table,) = steps["persist-routes"]["tables"]
    assert table["rows"] == []
    assert any("no whole answer" in reason for reason in steps["persist-routes"]["failed"])
