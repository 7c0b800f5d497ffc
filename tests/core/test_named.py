import subprocess
import sys

import pytest

from robust_transfer.core import named


def test_load_returns_what_the_name_stands_for():
    assert named.load("fractions:Fraction")(1, 2) == 0.5


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("fractions:Fraction", None),  # a class
        ("os.path:join", None),  # a function that the module imports from elsewhere
        ("math:sqrt", None),  # compiled: there is no source to look into
        ("fractions:Fractoin", "no 'Fractoin' in module 'fractions'"),
        ("fractions:numerator", "no 'numerator'"),  # defined inside a class only
        ("fractoins:Fraction", "no module named 'fractoins'"),
        ("no_package.deep:thing", "No module named 'no_package'"),
        ("fractions", "no '' in module"),
    ],
)
def test_problem_says_what_loading_would_fail_on(name, found):
    problem = named.problem(name)
    assert problem is None if found is None else found in problem


def test_problem_does_not_run_the_module(tmp_path):
    (tmp_path / "loud.py").write_text("thing = 1\nraise SystemExit(3)\n")
    code = "from robust_transfer.core import named; assert named.problem('loud:thing') is None"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert run.returncode == 0
