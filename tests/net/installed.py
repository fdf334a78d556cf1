# SPDX-License-Identifier: BSD-2-Clause
"""The library as a user has it: installed, found by pkg-config."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(*words, **kwargs):
    done = subprocess.run([str(w) for w in words], text=True,
                          capture_output=True, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """make install into a folder of its own."""
    folder = tmp_path_factory.mktemp("prefix")
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith("MAKE") and k != "MFLAGS"}
    run("make", "-C", ROOT, "install", f"PREFIX={folder}", env=environment)
    return folder


def declared():
    """The functions of the public header."""
    header = (ROOT / "include" / "xdivert.h").read_text()
    return set(re.findall(r"XDIVERT_API[^;(]*?\b(xdivert_\w+)\(",
                          header.replace("\n", " ")))


def flags(prefix, *words):
    return run("pkg-config", *words, "xdivert", env={
        **os.environ, "PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}).split()


def build(prefix, source, program):
    """A program against what was installed and nothing else."""
    run("gcc", "-Wall", "-Wextra", "-Werror", source, "-o", program,
        *flags(prefix, "--cflags", "--libs"), f"-Wl,-rpath,{prefix}/lib",
        cwd=program.parent)
    return program


class Program:
    """A program of the library's; it says when it is ready."""

    def __init__(self, host, *words):
        self.process = host.start(list(words), text=True,
                                  stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
