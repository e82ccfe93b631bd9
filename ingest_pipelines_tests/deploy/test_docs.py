"""The documents of deployment name files that are there."""

from __future__ import annotations

import re

import pytest

from ingest_pipelines_tests.deploy.places import DEPLOY, ROOT


@pytest.mark.parametrize("page", ["deploy.md", "security.md"])
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"\b(?:deploy|ingest_pipelines_tests)/[\w./-]*[\w]", text)
    assert named
    missing = [path for path in named if not (ROOT / path).exists() and not path.endswith("secrets.d")]
    assert missing == []


def test_every_folder_and_script_of_deploy_is_explained() -> None:
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("deploy.md", "security.md"))
    for path in (*(each for each in DEPLOY.iterdir() if each.is_dir()), *(DEPLOY / "sql").iterdir()):
        assert str(path.relative_to(ROOT)) in text, path
