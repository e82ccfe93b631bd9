"""An early load holds the table's lock; so none outlives the attempt that opened it."""

from __future__ import annotations

import pytest

from ingest_pipelines import pipeline
from ingest_pipelines.merge.early_load import Destination, EarlyLoad
from ingest_pipelines.model import Run, Validated
from ingest_pipelines.orchestration import early_loads
from ingest_pipelines.orchestration.early_loads import EarlyLoads
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.sources import open_upload
from ingest_pipelines.sources.files import item_of
from ingest_pipelines_tests.orchestration.conftest import GOOD, NOW, Shop

LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
    "WHERE locktype = 'advisory' AND datname = current_database()"
)


@pytest.fixture
def site(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(early_loads, "LARGE", 0)
    shop.write_import()
    shop.deliver("Points_1.csv", GOOD)
    return shop.site()


def _validate(shop: Shop, site: Site, registry: EarlyLoads, run: Run) -> tuple[Validated, EarlyLoad]:
    """The item of `GOOD`, validated by the run, and its early load, which has taken the lock."""
    bound, path, workspace = site.project.require("points"), str(shop.files / "points/Points_1.csv"), site.workspace
    with open_upload(shop.files / "points/Points_1.csv") as upload:
        item = item_of(bound.name, upload.stat(path), upload.uri(path), kind="upload")
    landing = pipeline.land(item, bound, workspace(run.id), NOW)
    with registry.begin(landing, bound, Destination(site.target, run, NOW)) as early:
        assert early is not None
        validated = pipeline.validate(landing, bound, workspace(run.id), early)
        early.finish()
        assert shop.rows(LOCKS) == [(1,)]
        if run.id == "interrupted":
            raise KeyboardInterrupt
    return validated, early


def test_an_early_load_waits_for_its_commit_and_is_handed_out_once(shop: Shop, site: Site) -> None:
    registry, bound, run = EarlyLoads(), site.project.require("points"), Run("run-1")
    validated, early = _validate(shop, site, registry, run)
    taken = registry.take(bound.name)
    assert taken is early
    assert registry.take(bound.name) is None
    report = pipeline.load(validated, bound, site.target, run, NOW, taken)
    assert (report.status, report.counts.inserted, shop.rows(LOCKS)) == ("committed", 2, [(0,)])


def test_an_interrupted_validation_leaves_no_early_load(shop: Shop, site: Site) -> None:
    registry = EarlyLoads()
    with pytest.raises(KeyboardInterrupt):
        _validate(shop, site, registry, Run("interrupted"))
    assert registry.take("points") is None
    assert shop.rows(LOCKS) == [(0,)]


def test_the_next_attempt_ends_the_early_load_of_the_one_before(shop: Shop, site: Site) -> None:
    registry = EarlyLoads()
    _, first = _validate(shop, site, registry, Run("run-1"))
    _, second = _validate(shop, site, registry, Run("run-2"))
    assert shop.rows(LOCKS) == [(1,)]
    assert registry.take("points") is second is not first
    second.discard()
    assert shop.rows(LOCKS) == [(0,)]
