"""The files around the code agree with it and with each other: workflows, hooks, change log, citation, forms."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def minor_versions() -> list[str]:
    """Return the versions of Python that pyproject.toml allows, such as `3.11`."""
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()  # type: ignore[union-attr]
    return [f"3.{minor}" for minor in range(int(low), int(high))]


# -------- workflows


@each_workflow
def test_a_workflow_calls_only_targets_that_the_makefile_has(workflow: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    steps = [step for job in load(workflow)["jobs"].values() for step in job["steps"]]
    called = {name for step in steps for name in re.findall(r"\bmake ([\w-]+)", step.get("run", ""))}
    assert called
    assert called <= targets


@each_workflow
def test_a_workflow_may_only_read_names_actions_by_commit_and_ends_in_time(workflow: Path) -> None:
    content = load(workflow)
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 180
        assert "permissions" not in job
        for step in job["steps"]:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + "0" * 40))


def test_the_checks_run_on_every_python_that_is_allowed() -> None:
    [job] = load(ROOT / ".github" / "workflows" / "check.yml")["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == minor_versions()
    named = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)}
    assert named == set(minor_versions())


# -------- releases


def test_the_citation_has_the_version_and_license_of_the_project() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_the_change_log_begins_with_what_is_unreleased_and_then_goes_back_in_time() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    assert None not in released
    versions = [(tuple(map(int, one.groups()[:3])), one[4]) for one in released if one]
    assert versions == sorted(versions, reverse=True)
    assert all(f"{version[0]}.{version[1]}.{version[2]}" == PROJECT["version"] for version, _ in versions[:1])


def test_the_project_cannot_be_uploaded_to_pypi_by_mistake() -> None:
    """The name sleap-rtc belongs to other people there."""
    assert "Private :: Do Not Upload" in PROJECT["classifiers"]


# -------- forms and hooks


@pytest.mark.parametrize("form", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem)
def test_a_form_asks_each_question_once_under_a_name(form: Path) -> None:
    content = load(form)
    names = [part["id"] for part in content["body"] if part["type"] != "markdown"]
    assert content["name"]
    assert content["description"]
    assert names
    assert len(names) == len(set(names))


def test_the_report_of_a_bug_asks_for_what_we_need() -> None:
    required = {
        part.get("id")
        for part in load(ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml")["body"]
        if part.get("validations", {}).get("required")
    }
    assert {"happened", "doctor", "versions"} <= required


def test_the_hooks_run_what_is_in_the_virtual_environment_and_download_nothing() -> None:
    repositories = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [one["repo"] for one in repositories] == ["local"]
    for hook in repositories[0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
