"""The list of faults that tests must notice keeps step with the sources and the tests."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("check_mutants", ROOT / "scripts" / "check_mutants.py")
check_mutants = importlib.util.module_from_spec(spec)
sys.modules["check_mutants"] = check_mutants
spec.loader.exec_module(check_mutants)
FAULTS = check_mutants.faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_can_be_put_in_and_names_tests_that_exist(fault):
    text = (ROOT / "src" / "robust_transfer" / fault.file).read_text()
    assert text.count(fault.old) == 1 and fault.new != fault.old
    for test in fault.tests:
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / path).read_text()


@pytest.mark.drill
def test_a_sample_of_the_faults_is_noticed_and_a_change_of_nothing_is_not():
    """By the script itself: it forks, before anything of the package is imported."""
    code = """
import check_mutants as c
assert c.main(["--sample", "4"]) == 0
fault = c.Fault("none", "attacks/threat.py", "TINY = 1e-12", "TINY = 1e-12 * 1", ())
assert c.survives(fault, ["tests/attacks/test_threat.py"]) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "scripts")
