"""Writes the doctor's reports as lines for people and as JSON for scripts."""

import json
from collections.abc import Iterable, Sequence

from rtc.common.text import clean, count
from rtc.doctor.finding import Check, Level, Report


def name_width(checks: Iterable[Check]) -> int:
    """Return the number of characters of the longest name of these checks."""
    return max(len(check.name) for check in checks)


def report_line(report: Report, width: int) -> str:
    """Return a report as one line, such as `ok    python  3.11.7`, with the advice after an arrow.

    It is a single line so that people can search the output with grep.
    """
    finding = report.finding
    detail, subject = clean(finding.detail), clean(report.subject or "")
    text = detail if subject in detail else f"{subject}: {detail}"
    advice = f"  → {clean(finding.advice)}" if finding.advice else ""
    return f"{finding.level.value:4}  {report.name:{width}}  {text}{advice}"


def reports_json(reports: Sequence[Report]) -> str:
    """Return all reports as one JSON array. Scripts read `name` and `level`, so these must not change."""
    return json.dumps(
        [
            {
                "name": report.name,
                "subject": report.subject,
                "level": report.finding.level.value,
                "detail": clean(report.finding.detail),
                "advice": report.finding.advice and clean(report.finding.advice),
            }
            for report in reports
        ],
        indent=2,
        ensure_ascii=False,
    )


def summary(reports: Sequence[Report]) -> str:
    """Return the last line of the output: how many checks failed and how many warned."""
    failed = sum(report.finding.level is Level.FAIL for report in reports)
    warned = sum(report.finding.level is Level.WARN for report in reports)
    warnings = f", {count(warned, 'warning')}" if warned else ""
    return f"\n{count(failed, 'check')} failed{warnings}." if failed else f"\nNothing failed{warnings}."
