"""TAB offers the services of a real agent."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import completions
from support.appliance import Appliance, own_network
from support.peer import wait_for

pytestmark = pytest.mark.root


def test_tab_offers_the_services_of_the_agent(tmp_path: Path) -> None:
    """In bash: of the agent whose `--directory` is on the line."""
    with own_network(), Appliance(tmp_path) as one:
        one.start()
        program = tmp_path / "bin" / "anycastd"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m anycastd "$@"\n')
        program.chmod(0o755)
        words = ["anycastd", "drain", "--directory", one.directory_of("agent"), "w"]
        script = (
            f'{completions.render_bash()}\nPATH="{program.parent}:$PATH"; COMP_WORDS=("$@"); '
            'COMP_CWORD=$(($# - 1)); _anycastd; printf "%s\\n" "${COMPREPLY[@]}"'
        )

        def offered() -> bool:
            # One try may find a busy machine: an answer that takes two seconds offers nothing.
            done = subprocess.run(
                ["bash", "-c", script, "bash", *words],
                env=one.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                check=True,
            )
            return done.stdout.split() == ["web"]

        wait_for(offered, 60, "the name of the service")
