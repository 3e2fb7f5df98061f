"""Our own version, read from the installed distribution."""

from importlib.metadata import PackageNotFoundError, version


def _read() -> str:
    try:
        return version("sleap-rtc")
    except PackageNotFoundError:
        return "unknown"  # run from a bare checkout


VERSION = _read()
