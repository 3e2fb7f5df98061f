"""Helpers for tests, also those of other projects: fixtures, and stand-ins for slow programs and for networks."""
