"""File names that Windows reserves for devices: no file that we create or receive may have one."""

import re

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)


def is_reserved_on_windows(name: str) -> bool:
    """Return whether `name` (a file name without folders) is a device on Windows, with or without a suffix.

    Source: "Naming Files, Paths, and Namespaces" in Microsoft's documentation of Win32.
    """
    return _RESERVED.fullmatch(name) is not None
