"""What `make deb` builds: reproducible packages, clean for lintian, with every command."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from anycastd.cli.main import COMMANDS
from systems import ROOT, build_packages

pytestmark = pytest.mark.timeout(300)
DIST = ROOT / "dist"


def hash_packages(folder: Path) -> dict[str, str]:
    """Return the hashes of the packages in a folder."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.glob("*.deb"))
    }


def test_another_folder_and_another_umask_give_the_same_packages(tmp_path: Path) -> None:
    """The packages do not depend on the path, the times or the modes of the checkout."""
    tree = tmp_path / "another folder"
    tree.mkdir(mode=0o700)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(
        listed, cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        copy = tree / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
        copy.chmod(0o700 if os.access(ROOT / name, os.X_OK) else 0o600)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    (tree / "build").mkdir()
    (tree / "build" / "vendor").symlink_to(ROOT / "build" / "vendor")
    assert len(build_packages(tmp_path / "made", tree=tree)) == 2
    assert hash_packages(tmp_path / "made") == hash_packages(DIST)


def test_lintian_has_nothing_to_say() -> None:
    """Pedantic and experimental tags are included; each override says why."""
    (changes,) = DIST.glob("*.changes")
    command = ["lintian", "--allow-root", "-EvIL", "+pedantic", "--no-show-overrides"]
    done = subprocess.run(
        [*command, str(changes)], capture_output=True, encoding="utf-8", check=False
    )
    tags = [line for line in done.stdout.splitlines() if re.match("[EWIPX]: ", line)]
    assert (done.returncode, tags) == (0, [])


def test_the_apparmor_profiles_compile() -> None:
    """The parser of Debian takes them; it needs no AppArmor in the kernel for that."""
    parser = ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--debug"]
    file = ROOT / "packaging" / "apparmor" / "anycastd"
    done = subprocess.run([*parser, str(file)], capture_output=True, encoding="utf-8", check=False)
    assert not done.returncode, done.stderr
    assert len(re.findall("^Name:", done.stdout, re.MULTILINE)) == 4


def read_packaged(name: str, path: str) -> bytes:
    """Return the content of a file in a package."""
    (package,) = DIST.glob(f"{name}_*_all.deb")
    tree = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True
    )
    unpack = ["tar", "--extract", "--to-stdout", "--file=-", f".{path}"]
    return subprocess.run(unpack, input=tree.stdout, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_manual_pages_and_the_completions_know_every_command(name: str) -> None:
    """Each has a page, in the package that has the command; each is completed."""
    package = "anycastd-lab" if name == "lab" else "anycastd"
    page = read_packaged(package, f"/usr/share/man/man8/anycastd-{name}.8.gz")
    assert f"\\fBanycastd {name}\\fR" in gzip.decompress(page).decode()
    bash = read_packaged("anycastd", "/usr/share/bash-completion/completions/anycastd").decode()
    assert f"        {name})\n" in bash
    zsh = read_packaged("anycastd", "/usr/share/zsh/vendor-completions/_anycastd").decode()
    assert zsh.startswith("#compdef anycastd\n")
    assert f"        {name})\n" in zsh
    script = f"{bash}\nCOMP_WORDS=(anycastd {name[:3]}); COMP_CWORD=1; _anycastd; echo $COMPREPLY"
    done = subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == next(it for it in COMMANDS if it.startswith(name[:3]))


def test_the_profile_has_a_manual_page() -> None:
    """`man anycastd-profile`."""
    page = read_packaged("anycastd", "/usr/share/man/man5/anycastd-profile.5.gz")
    assert b".SH NAME\nanycastd\\-profile" in gzip.decompress(page)


@pytest.mark.parametrize("name", sorted(os.listdir(ROOT / "packaging" / "monitoring")))
def test_the_alert_rules_and_the_dashboard_are_in_the_package(name: str) -> None:
    """They are where docs/monitoring.md says."""
    packaged = read_packaged("anycastd", f"/usr/share/anycastd/monitoring/{name}")
    assert packaged == (ROOT / "packaging" / "monitoring" / name).read_bytes()
    assert f"`{name}`" in (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
