"""The fixtures are those that other projects get."""

pytest_plugins = ["rtc.testing.plugin"]
