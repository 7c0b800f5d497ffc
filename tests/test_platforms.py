"""The package on machines that lack what Unix has; Windows and macOS themselves were not at hand."""

import subprocess
import sys

import pytest

# Other packages come first: what they need is their own affair.
IMPORTS = """
import importlib, os, pkgutil, signal, sys
for name in (
    "filelock hydra numpy omegaconf pandas PIL safetensors scipy.stats sklearn statsmodels.api tqdm yaml"
    " torch torchvision torch.distributed.launcher.api torch.utils.data matplotlib.pyplot pytorch_optimizer"
).split():
    importlib.import_module(name)
for name in ("fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
    delattr(signal, name)
for name in ("fork", "getuid", "killpg", "sched_getaffinity", "statvfs"):
    delattr(os, name)
import robust_transfer
for module in pkgutil.walk_packages(robust_transfer.__path__, "robust_transfer."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(sum(name.startswith("robust_transfer.") for name in sys.modules))
"""


@pytest.mark.slow
def test_every_module_is_imported_where_unix_only_modules_are_missing():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 150
