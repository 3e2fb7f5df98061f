"""Everything that has effects outside the process, and the programs that are built of it.

Rule: code that uses a socket, a file, a process or asyncio is in this package; decisions are made in `actors`. Each
outside library is used in one folder, as far as possible (docs/architecture.md).
"""
