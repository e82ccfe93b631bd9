"""A package whose private parts we use is not upgraded by itself: setup.py stops at its next minor version."""

from __future__ import annotations

import re

import pytest

from ingest_pipelines_tests.architecture.source import PACKAGE

USED = [
    ("paramiko", "sources/sftp_protocol.py", "_async_request"),
    ("pymysql", "sources/mysql.py", "_rfile"),
    ("mssql-python", "sources/mssql.py", "ddbc_bindings"),
    ("snowflake-connector-python", "sources/snowflake.py", "_cancel_query"),
]


@pytest.mark.parametrize(("package", "module", "private_part"), USED, ids=[package for package, _, _ in USED])
def test_a_package_whose_private_parts_are_used_has_an_upper_bound(
    package: str, module: str, private_part: str
) -> None:
    assert private_part in (PACKAGE / module).read_text(), "not used any more: the bound can go"
    requirements = (PACKAGE.parent / "setup.py").read_text()
    locked = (PACKAGE.parent / "requirements-test.lock").read_text()
    bound = re.search(rf'"{package}>=[\d.]+,<(\d+)\.(\d+)"', requirements)
    version = re.search(rf"^{package}==(\d+)\.(\d+)", locked, re.MULTILINE)
    assert bound is not None
    assert version is not None
    assert (int(bound[1]), int(bound[2])) == (int(version[1]), int(version[2]) + 1)
