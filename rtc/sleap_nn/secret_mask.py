"""Hides keys and passwords in what a job prints. A configuration or a script may hold one, and sleap-nn prints both.

Nobody can know every form of a secret: known are those of the services that a training may use, whatever follows a
name such as `api_key:`, and the values that the package itself holds under such names.
"""

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
"""What is shown in place of a secret."""
VALUES_MAX = 50
"""Maximum number of values that are looked for in each line."""
VALUE_MAX = 1000
"""Characters of such a value that are looked for."""

_KEYS = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"[0-9a-fA-F]{40}(?![0-9A-Za-z])"  # Weights & Biases until 2025; also the ids of git commits
    r"|wandb_v[0-9]+_[A-Za-z0-9_-]{20,}"  # Weights & Biases since then
    r"|(?:hf|api_org)_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # Amazon
    r"|sk-[A-Za-z0-9_-]{20,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON Web Tokens (RFC 7519)
    r")"
)
_NAMED = re.compile(
    r"((?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d|credentials?)[\w-]{0,40}[\"']?\s{0,3}[:=]\s{0,3}"
    r"|\bbearer\s{1,3}|://[^\s/:@]{0,100}:)"
    r"(?!\[hidden\])([\"']?)[^\s\"',;)}\]@]{8,}",
    re.IGNORECASE,
)
"""A name or another mark before a secret, and the secret: `api_key: …`, `Bearer …`, `https://user:…@host`."""
_MARKS = (
    *("key", "secret", "token", "passw", "credential", "bearer", "://", "wandb_v", "hf_", "api_org_", "github_pat_"),
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "akia", "asia", "sk-", "eyj"),
)
"""What a line that holds a secret has, in lower case; or it has 40 hexadecimal digits. To look for these is faster than
to try the patterns, and few lines have one."""
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{40}")


def mask(text: str) -> str:
    """Return a line with every secret of a known form replaced by `HIDDEN`."""
    lower = text.lower()
    if not any(mark in lower for mark in _MARKS) and not _HEXADECIMAL.search(text):
        return text
    return _NAMED.sub(rf"\1\2{HIDDEN}", _KEYS.sub(HIDDEN, text))


def values_pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds these texts, at most `VALUES_MAX` of them; None when there are none."""
    found = sorted({value[:VALUE_MAX] for value in values if value}, key=lambda value: (-len(value), value))
    return re.compile("|".join(map(re.escape, found[:VALUES_MAX]))) if found else None
