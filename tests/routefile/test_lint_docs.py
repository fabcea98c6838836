"""docs/lint.md explains every code that there is; each example is found, and each mended one is not."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from pfiflow.flow.component import Registry
from pfiflow.routefile import lint
from pfiflow.routefile.codes import CODES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/lint.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[2] for match in re.finditer(r"^### ([\w-]+)\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE)
}
TITLES = [("error", "Errors"), ("warning", "Warnings"), ("information", "Information")]
REGISTRY = Registry.installed()

WITHOUT_EXAMPLE = {
    "limit",  # a megabyte of YAML
    "open-secret",  # the mode of a file
    "several-sinks",  # the sinks that are shipped remember
}
ROUTE = """\
channels: {{orders: , others: }}
routes:
  - id: r
    from: {{mllp-in: {{listen: "127.0.0.1:2575"}}}}
    steps:
{steps}
"""


def examples_of(code: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", SECTIONS[code], re.DOTALL | re.MULTILINE)


def found_in(example: str, tmp_path: Path) -> dict[str, str]:
    """The codes with their severity."""
    text = ROUTE.format(steps=textwrap.indent(example, "      ")) if example.startswith("- ") else example
    path = tmp_path / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    secrets = {"PFI_DMP_HOMOLOGATION": "DEV000000"}
    return {finding.code: finding.severity for finding in lint([path], REGISTRY, environment=secrets)}


def test_every_code_is_explained_once_and_in_its_chapter() -> None:
    assert sorted(re.findall(r"^### (.*)$", TEXT, re.MULTILINE)) == sorted(CODES)
    chapter = ""
    for line in TEXT.splitlines():
        if line.startswith("## "):
            chapter = next((severity for severity, title in TITLES if line[3:].startswith(title)), "")
        elif line.startswith("### "):
            assert CODES[line[4:]].severity == chapter, line


@pytest.mark.parametrize("code", sorted(CODES))
def test_examples(code: str, tmp_path: Path) -> None:
    examples = examples_of(code)
    if code in WITHOUT_EXAMPLE:
        assert examples == []
        return
    wrong, mended = examples
    assert found_in(wrong, tmp_path).get(code) == CODES[code].severity
    after = found_in(mended, tmp_path)
    assert code not in after
    assert "error" not in after.values(), after


def test_the_example_of_a_silenced_finding_says_nothing(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(channels:\n  # lint.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert found_in(example, tmp_path) == {}


def test_every_code_in_the_source_has_its_entry() -> None:
    """What the loader and the checks can say, by the words in the code."""
    files = [
        path
        for path in (ROOT / "pfiflow/routefile").glob("*.py")
        if not path.name.startswith(("testfile", "environment"))
    ]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    said = set(re.findall(r'code="([\w-]+)"', source)) | set(
        re.findall(r'found\([^"]*?"([\w-]+)", "(?:error|warning|information)"', source)
    )
    assert said <= set(CODES), said - set(CODES)
