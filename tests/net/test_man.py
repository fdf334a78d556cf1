# SPDX-License-Identifier: BSD-2-Clause
"""The manual pages: well formed, complete, and with an example that works."""
import pathlib
import re
import subprocess

import pytest

from installed import Program, build, declared, prefix  # noqa: F401
from lab import XDIVERT
from packets import Path, udp

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted((ROOT / "man").glob("*.[0-9]"))


def output(*words, **kwargs):
    done = subprocess.run([str(w) for w in words], text=True,
                          capture_output=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sections(page):
    """Heading -> text, as a reader sees it."""
    text = re.sub(".\b", "", output("mandoc", "-Tutf8", "-Owidth=1000", page))
    found, heading = {}, ""
    for line in text.splitlines():
        if re.match(r" {0,3}\S", line):
            heading = line.strip()
        found[heading] = found.get(heading, "") + line + "\n"
    return found


def usages():
    """Command -> its usage, from 'xdivert help'."""
    found, command = {}, ""
    for line in output(XDIVERT, "help").splitlines():
        start = re.match(r"(?:usage:| {6}) xdivert (\S+)(.*)", line)
        if start:
            command, line = start.groups()
        found[command] = found.get(command, "") + line
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_lint(page):
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], text=True,
                          capture_output=True)
    assert not done.stdout + done.stderr and done.returncode == 0, done
    done = subprocess.run(["man", "--warnings", "-l", page], text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert not done.stderr and done.returncode == 0, done.stderr


def test_every_word_of_the_usage():
    """What xdivert.8 does not say yet of a command, one must add there."""
    page = sections(ROOT / "man" / "xdivert.8")
    commands = usages()
    assert len(commands) > 5
    missing = []
    for command, usage in commands.items():
        if command.startswith("["):
            text = page["DESCRIPTION"]
        else:
            text = page.get(f"xdivert {command}")
            assert text, f"man/xdivert.8 has no section 'xdivert {command}'"
        for word in re.findall(r"--[a-z-]+|\b[a-z]{2,}\b", usage):
            if word == "--json":  # said once, for all
                text = text + page["xdivert version"]
            if not re.search(rf"(?<![\w-]){word}(?![\w-])", text):
                missing.append(f"{command}: {word}")
    assert not missing, "not explained in man/xdivert.8: " + ", ".join(missing)


def test_the_librarys_functions():
    """What libxdivert.3 does not say yet of a function, one must add there."""
    page = (ROOT / "man" / "libxdivert.3").read_text()
    named = set(re.findall(r"^\.Fn (\w+)", page, re.M))
    assert len(named) > 20
    assert named == declared()


def test_example(lab, prefix, tmp_path):  # noqa: F811
    """It compiles without a warning, links, and does what it says."""
    page = (ROOT / "man" / "libxdivert.3").read_text()
    block = re.search(r"^\.Bd -literal\n(#include.*?)^\.Ed", page, re.M | re.S)
    (tmp_path / "example.c").write_text(block[1].replace(r"\e", "\\"))
    program = build(prefix, tmp_path / "example.c", tmp_path / "example")
    lab.gateway.xdivert("attach", "g0")
    lab.gateway.rule("all", "ip")
    with Program(lab.gateway, program):
        Path(lab).expect(udp("expedite-me-now!"),
                         udp("expedite-me-now!", ttl=63, tos=46 << 2))


def test_installed(tmp_path):
    output("make", "-C", ROOT, "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    for page in PAGES:
        path = tmp_path / f"usr/share/man/man{page.suffix[1:]}" / page.name
        assert path.read_bytes() == page.read_bytes()
