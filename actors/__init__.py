"""What is decided: state tables and one run loop.

Rule of the room: trio channels and attrs only; no sockets, files, processes, clocks or asyncio.
"""
