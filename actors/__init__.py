"""The decisions of worker and client: state tables, and the one loop that runs them.

Rule: trio channels and attrs only; no sockets, files, processes or asyncio, and no clock but that of state time-outs.
"""
