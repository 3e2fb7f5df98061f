"""Hides keys and passwords in what a job prints. A configuration or a script may hold one, and sleap-nn prints both.

Nobody can know every form of a secret: known are those of the services that a training may use, whatever follows a
name such as `api_key:`, and the values that the package itself holds under such names.
"""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from protocol.converter import spelled_in_json
from protocol.fields import printable
from rtc.common.logs import HIDDEN

VALUES_MAX = 50
"""Maximum number of values that are looked for in each line."""
VALUE_MAX = 1000
"""Characters of such a value that are looked for."""

LINE_MIN = 8
"""Characters of a line of such a value, from which on it is looked for by itself."""

_KEYS = re.compile(
    r"(?<![0-9A-Za-z])(?:"
    r"[0-9a-fA-F]{40}(?![0-9A-Za-z])"  # Weights & Biases until 2025; also the ids of git commits
    r"|wandb_v[0-9]+_[A-Za-z0-9_-]{20,}"  # Weights & Biases since then
    r"|(?:hf|api_org)_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,}"  # GitHub, GitLab
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # Amazon
    r"|AIza[A-Za-z0-9_-]{30,}"  # Google
    r"|xox[abeprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|sk[-_][A-Za-z0-9_-]{20,}"  # OpenAI, Stripe
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON Web Tokens (RFC 7519)
    r")"
)
_HIDDEN_NAME = r"(?:api[ _-]?key|access[_-]?key|secret|token|passw(?:or)?d|passphrase|\bpwd\b|credentials?)[\w-]{0,40}"
_NAMED = re.compile(
    rf"((?<![\w-])-{{1,2}}[\w-]{{0,40}}{_HIDDEN_NAME}\s{{1,20}}"  # an option: `--api-key …`
    rf"|{_HIDDEN_NAME}[\"']?\s{{0,20}}(?:=>|[:=])\s{{0,20}}(?:!!?str\s)?"
    r"|\bauthorization[\"']?\s{0,20}[:=]\s{0,20}(?:(?:basic|bearer|digest|token)\s{1,20})?"  # RFC 9110, section 11.6.2
    r"|\b(?:bearer|login\s{1,3}\S{1,100}\s{1,3}password)\s{1,20}"  # `.netrc`
    r"|://[^\s/:@]{0,100}:(?=[^\s@]{1,200}@))"
    rf"(?!{re.escape(HIDDEN)})"
    r"(?:([\"'])(?:(?!\2)[^\\]|\\.){8,500}(?=\2)|([\"']?)[^\s\"',;)}\]@]{8,}|(?<=:)[^\s/@]{1,200}(?=@))",
    re.IGNORECASE,
)
"""A name or another mark before a secret, and the secret: `api_key: …`, `Bearer …`, `https://user:…@host`."""
_MARKS = (
    *("key", "secret", "token", "passw", "passphrase", "pwd", "credential", "authorization", "bearer", "://"),
    *("wandb_v", "hf_", "api_org_", "github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "glpat-", "akia", "asia"),
    *("aiza", "xox", "sk-", "sk_", "eyj"),
)
"""What a line that holds a secret has, in lower case; or it has 40 hexadecimal digits. To look for these is faster than
to try the patterns, and few lines have one."""
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{40}")


def mask(text: str) -> str:
    """Return a line with every secret of a known form replaced by `HIDDEN`."""
    lower = text.lower()
    if not any(mark in lower for mark in _MARKS) and not _HEXADECIMAL.search(text):
        return text
    return _NAMED.sub(rf"\1\2\3{HIDDEN}", _KEYS.sub(HIDDEN, text))


def values_pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds these texts, at most `VALUES_MAX` of them; None when there are none.

    Each is found as it is, and as it is spelled in JSON, in a `repr` and in a URL; of several lines, each line. Bytes
    that are no UTF-8, which the environment may have (`os.fsdecode`), and tabs are found as the log shows them, too.
    """
    lines = {part.strip() for value in values for part in (value, *_long_lines(value))} - {""}
    found = sorted(lines, key=lambda line: (-len(line), line))[:VALUES_MAX]
    forms = {form: None for line in found for form in _spellings(line)}
    return re.compile("|".join(map(_form_pattern, sorted(forms, key=len, reverse=True)))) if forms else None


def _long_lines(value: str) -> Iterator[str]:
    yield from (line for line in value.splitlines() if len(line) >= LINE_MIN)


def _spellings(text: str) -> tuple[str, ...]:
    return (
        text,
        spelled_in_json(text),
        text.replace("\\", "\\\\").replace('"', '\\"'),
        repr(text)[1:-1],
        quote(_as_bytes(text), safe=""),
        printable(_as_bytes(text).decode(errors="replace")),
    )


def _as_bytes(text: str) -> bytes:
    """Return what a program prints for a text; a lone surrogate from JSON, which stands for no byte, becomes `?`."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def _form_pattern(text: str) -> str:
    """Return a pattern for a text; of one that is too long, its beginning and what follows it."""
    return re.escape(text[:VALUE_MAX]) + (r"\S*" if len(text) > VALUE_MAX else "")
