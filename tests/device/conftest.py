"""The pretend device is known to torch from the start of a process, and to no other test.

torch's autograd engine counts the kinds of device at its first backward pass, and a device that is known
changes what other code finds on the machine. These tests run in a process of their own: tests/test_device.py,
or

    RT_PRETEND_DEVICE=1 python -m pytest tests/device
"""

import os

if os.environ.get("RT_PRETEND_DEVICE"):
    import pretend_device

    pretend_device.register()
else:
    collect_ignore_glob = ["test_*.py"]
