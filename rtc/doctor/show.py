"""The doctor's reports, for people and for scripts."""

import json
from collections.abc import Iterable, Sequence

from rtc.common.text import clean, count
from rtc.doctor.finding import Check, Level, Report


def widest(checks: Iterable[Check]) -> int:
    """Characters that the names of these checks need."""
    return max(len(check.name) for check in checks)


def report_line(report: Report, width: int) -> str:
    """`ok    python  3.11.7`, and behind an arrow what to do. One line, so that it can be searched for."""
    finding = report.finding
    detail, subject = clean(finding.detail), clean(report.subject or "")
    told = detail if subject in detail else f"{subject}: {detail}"
    advice = f"  → {clean(finding.advice)}" if finding.advice else ""
    return f"{finding.level.value:4}  {report.name:{width}}  {told}{advice}"


def reports_json(reports: Sequence[Report]) -> str:
    """One array; `name` and `level` are stable."""
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
    """The last line: how it stands."""
    failed = sum(report.finding.level is Level.FAIL for report in reports)
    warned = sum(report.finding.level is Level.WARN for report in reports)
    warnings = f", {count(warned, 'warning')}" if warned else ""
    return f"\n{count(failed, 'check')} failed{warnings}." if failed else f"\nNothing failed{warnings}."
