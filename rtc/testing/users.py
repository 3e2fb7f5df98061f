"""Whether a test can run a program as another user of this machine."""

import os
import subprocess
import sys
from functools import cache

ANOTHER_USER = 65533
"""A user id that no account has; the programs that the tests run as this user need none."""


@cache
def can_become_another_user() -> bool:
    """Return whether a program started here may become `ANOTHER_USER`; root in a container may not."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    code = f"import os; os.setuid({ANOTHER_USER})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
