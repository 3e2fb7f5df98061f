"""The version of sleap-rtc, read from the installed distribution."""

from importlib.metadata import PackageNotFoundError, version


def _read() -> str:
    try:
        return version("sleap-rtc")
    except PackageNotFoundError:
        return "unknown"  # run from a checkout that is not installed


VERSION = _read()
