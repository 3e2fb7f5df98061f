"""File names that Windows keeps for devices: no file that we make or take from others may have one."""

import re

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)


def is_reserved_on_windows(name: str) -> bool:
    """Whether `name`, without folders, names a device there, with or without a suffix.

    Source: "Naming Files, Paths, and Namespaces" in Microsoft's documentation of Win32.
    """
    return _RESERVED.fullmatch(name) is not None
