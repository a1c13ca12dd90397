"""Calling `rl-lab` inside this process, for what needs no process of its own."""

import sys

import pytest

from rl_lab.cli import main


@pytest.fixture
def say(monkeypatch, capsys):
    """Call `rl-lab words...`; gives exit code, standard output and standard error."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rl-lab", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call
