"""Faults put in by chance, a few of each kind; ``python -m benchmarks.faults`` puts in as many as one likes."""

import re

import pytest

from benchmarks.faults import __main__ as faults
from benchmarks.faults import spoilt


@pytest.mark.usefixtures("no_plots")
@pytest.mark.slow
def test_faults_are_met_as_they_should_be(run_script):
    status, out, err = run_script(faults.main, "--rounds=8", "--runs=1", "--longest=3", "--seed=3")
    assert (status, err) == (0, ""), out
    assert re.search(r"8 spoilt inputs and 1 runs, 0 problems", " ".join(out.split()))


def test_what_a_program_does_wrong_is_counted(tmp_path):
    """A program that fails with a traceback, hangs, or leaves unfinished files is told from one that refuses."""

    def fails(arguments):
        raise KeyError("no sentence")

    def leaves(arguments):
        (tmp_path / ".a.unfinished-12345678.npy").touch()

    for main, named in ((fails, "Traceback"), (leaves, "leaves")):
        outcome, said = spoilt.attempt(spoilt.Subject(main, "", ()), tmp_path, tmp_path)
        assert outcome == spoilt.WRONG
        assert named in said
