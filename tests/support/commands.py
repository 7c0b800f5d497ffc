"""The four commands, and the one form in which each refuses."""

import re

from robust_transfer.cli import data, evaluate, report, train

COMMANDS = {
    "rt-train": train.main,
    "rt-eval": evaluate.main,
    "rt-data": data.main,
    "rt-report": report.main,
}


# A run says what it will do, and on what, before it meets a full disk or a file that is cut short.
SAID_FIRST = re.compile(r"\d+ stages? to run; |device: |\w+: [\d,]+ images, |\[\d+/\d+\] ")


def check_message(command: str, text: str) -> list[str]:
    """Assert that a text is an error's line and at most two below it; return the lines."""
    lines = text.splitlines()
    while lines and SAID_FIRST.match(lines[0]):
        del lines[0]
    assert lines[0].startswith(f"{command}: error: ") and len(lines[0]) > len(command) + 12, text
    assert len(lines) <= 3 and all(line.startswith("  ") and line.strip() for line in lines[1:]), text
    assert "Traceback" not in text and "usage:" not in text
    return lines
