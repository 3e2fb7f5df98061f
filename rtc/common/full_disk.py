"""How a full disk shows."""

import errno

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No space is left on the device, or in the quota of this user."""


def is_full_disk(error: OSError) -> bool:
    """Return whether an error says that there is no room on a disk."""
    return error.errno in _FULL
