"""docs/errors.md shows commands and their errors: each is typed here, in the project that `ingest init` makes."""

from __future__ import annotations

import re

import pytest

from ingest_pipelines_tests.cli.reference import FILE
from ingest_pipelines_tests.cli.terminal import Terminal

PAGE = (FILE.parent / "errors.md").read_text(encoding="utf-8")
EXAMPLES = [
    (words.split(), printed)
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for words, printed in re.findall(r"^\$ ingest (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


@pytest.fixture(scope="module")
def project(starter: Terminal) -> Terminal:
    """The starter project, with an import with a typing error, a file that is refused, and one load."""
    home = starter.folder
    assert starter.ingest("run", "loyalty").code == 0
    typo = (home / "imports" / "loyalty.yaml").read_text("utf-8").replace("type: int", "type: integer")
    (home / "imports" / "points.yaml").write_text(typo, "utf-8")
    (home / "quoted.csv").write_text('CID,Email,Tier,Points,Joined\nC1,,Gold,10,2026-01-31\n"C2,,Gold,20,\n', "utf-8")
    return starter


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(("words", "printed"), EXAMPLES, ids=[" ".join(words) for words, _ in EXAMPLES])
def test_every_example_is_what_the_command_prints(project: Terminal, words: list[str], printed: str) -> None:
    answer = project.ingest(*words)
    assert answer.code != 0
    assert (answer.out + answer.err).replace(str(project.folder), "/srv/shop") == printed
