"""Writes the doctor's reports as lines for people and as JSON for scripts."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from protocol.converter import to_json
from rtc.common.sizes import count
from rtc.common.text import clean
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


@frozen
class ReportJson:
    """One report as `sleap-rtc doctor --json` shows it. Scripts read `name` and `level`, so these must not change."""

    name: str
    subject: str | None
    level: Level
    detail: str
    advice: str | None


def reports_json(reports: Sequence[Report]) -> str:
    """Return a JSON array with a `ReportJson` for each report."""
    return to_json(tuple(map(_report_json, reports)), indent=2)


def _report_json(report: Report) -> ReportJson:
    finding = report.finding
    advice = finding.advice and clean(finding.advice)
    return ReportJson(report.name, report.subject, finding.level, clean(finding.detail), advice)


def summary(reports: Sequence[Report]) -> str:
    """Return the last line of the output: how many checks failed and how many warned."""
    failed = sum(report.finding.level is Level.FAIL for report in reports)
    warned = sum(report.finding.level is Level.WARN for report in reports)
    warnings = f", {count(warned, 'warning')}" if warned else ""
    return f"\n{count(failed, 'check')} failed{warnings}." if failed else f"\nNothing failed{warnings}."
