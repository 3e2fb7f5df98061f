"""How long a test waits before it says that a program hangs."""

HANG_TIME = 300.0
"""Seconds on the real clock after which a test that waits for something real fails.

Only a program that hangs takes so long: everything that tests wait for happens within seconds, also on a machine whose
cores are taken by others. A test never measures with it how fast something is.
"""
