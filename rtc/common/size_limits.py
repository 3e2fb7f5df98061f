"""How large files may be that a peer sends, unless an option says otherwise. `--help` shows these numbers."""

PACKAGE_MAX = 20 * 10**9
"""Bytes of the largest package that a worker accepts, packed or unpacked (`--max-package`)."""
RESULT_MAX = 50 * 10**9
"""Bytes of the largest result that a client accepts, packed or unpacked (`--max-result`). It may have many models, each
with checkpoints of some hundred MB."""
