"""What a person reads and clicks in the Dagster UI: real webserver, real daemon, real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD
from ingest_pipelines_tests.orchestration.served import wait_for
from ingest_pipelines_tests.orchestration.vendor import KEY, Vendor, vendor_of
from ingest_pipelines_tests.servers.sftp import SftpServer

pytestmark = pytest.mark.slow

PATIENCE = 60_000
"""Milliseconds for a page on a busy machine."""


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory, sftp_server: SftpServer, postgres_url: str) -> Iterator[Vendor]:
    """One good file, one that fails."""
    with vendor_of(tmp_path_factory.mktemp("ui"), sftp_server, postgres_url) as vendor, vendor.up():
        vendor.deliver("Points_1767225600.csv", GOOD)
        vendor.wait_for_load("Points_1767225600", "committed")
        vendor.deliver("Points_1767225601.csv", ONE_BAD)
        vendor.wait_for_load("Points_1767225601", "failed")
        yield vendor


def test_the_assets_page_says_what_it_is_where_from_and_what_came(vendor: Vendor, page: Page) -> None:
    page.goto(f"{vendor.served.url}/assets/customers/points")
    for words in ("Points and tier from the tills", "source column", "CID", "ingest report points", "crm", "tills"):
        expect(page.get_by_text(words).first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("character varying(64)").first).to_be_visible(timeout=PATIENCE)


def test_lineage_reads_source_import_table(vendor: Vendor, page: Page) -> None:
    page.goto(f"{vendor.served.url}/assets/customers/points?view=lineage")
    for words in ("sources", "Points", "points", "customers", "Table"):
        expect(page.get_by_text(words, exact=True).first).to_be_visible(timeout=PATIENCE)


def test_a_failed_runs_page_says_why_what_is_safe_and_what_to_type(vendor: Vendor, page: Page) -> None:
    [(key,)] = vendor.rows("SELECT key FROM ingest.items WHERE status = 'failed'")
    [run] = vendor.served.runs(key)
    vendor.served.wait_for_run(run["runId"])
    page.goto(f"{vendor.served.url}/runs/{run['runId']}")
    for words in ("1 of 2 rows were rejected", "nothing was merged", "ingest rejects list points"):
        expect(page.get_by_text(words).first).to_be_visible(timeout=PATIENCE)


def test_failed_partitions_run_again_with_one_choice_and_turn_green(vendor: Vendor, page: Page) -> None:
    [(key,)] = vendor.rows("SELECT key FROM ingest.items WHERE status = 'failed'")
    vendor.write_import(rejects={"max_rows": 1})
    page.goto(f"{vendor.served.url}/assets/{'/'.join(KEY)}?view=partitions")
    expect(page.get_by_text("Failed (1)").first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name=re.compile("Materialize")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Failed", exact=True).first.click()
    dialog.get_by_role("button", name=re.compile("Launch")).click()
    vendor.wait_for_load("Points_1767225601", "committed")
    wait_for(lambda: {run["status"] for run in vendor.served.runs(key)} >= {"SUCCESS"}, "the run's end")
    page.goto(f"{vendor.served.url}/assets/{'/'.join(KEY)}?view=partitions")
    expect(page.get_by_text("Failed (0)").first).to_be_visible(timeout=PATIENCE)
