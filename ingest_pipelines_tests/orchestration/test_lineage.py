"""What the UI says of an import besides its runs: where it reads, what it fills, by which rules."""

from __future__ import annotations

from dagster import AssetKey, DagsterInstance

from ingest_pipelines.orchestration.assets.lineage import column_lineage, description_of
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop

SOURCE = AssetKey(["source", "uploads", "points", "Points"])
TABLE = AssetKey(["table", "crm", "customers"])


def test_an_imports_page_shows_its_mapping_as_a_table(shop: Shop) -> None:
    shop.write_import(rejects={"max_rows": 5}, schedule=None)
    assert description_of(shop.bound()) == (
        "Points and tier from the tills.\n\n"
        "The files points/Points of uploads → crm.customers, add_and_update, matched by customer_id.\n\n"
        "Rejects allowed: 5 rows. Next: `ingest report points`, `ingest rejects list points`\n\n"
        "| source column | field | type | rules |\n"
        "| --- | --- | --- | --- |\n"
        "| CID | customer_id | string | max_length: 64 |\n"
        "| Tier | tier | string | max_length: 20 |\n"
        "| Points | points | int |  |\n"
        "| Joined | joined_on | date |  |"
    )


def test_lineage_reads_source_import_table(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()
    node = graph.get(AssetKey(["customers", "points"]))
    assert (node.parent_keys, node.child_keys) == ({SOURCE}, {TABLE})
    assert graph.get(SOURCE).kinds == {"csv"}
    assert not graph.get(TABLE).is_executable


def test_each_field_names_the_source_column_that_fills_it(shop: Shop) -> None:
    filled = column_lineage(shop.bound()).deps_by_column
    assert [(dep.asset_key, dep.column_name) for dep in filled["points"]] == [(SOURCE, "Points")]


def test_a_load_is_seen_on_the_pages_of_its_source_and_its_table(shop: Shop, instance: DagsterInstance) -> None:
    shop.deliver("Points_1.csv", GOOD)
    item = shop.arrive(instance)
    shop.run(instance, item)
    table = instance.get_latest_materialization_event(TABLE)
    assert table is not None
    assert table.asset_materialization is not None
    shown = table.asset_materialization.metadata
    assert (shown["dagster/row_count"].value, shown["inserted"].value, shown["import"].value) == (2, 2, "points")
    [seen] = instance.fetch_observations(SOURCE, limit=1).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.metadata["uri"].value == item.uri


def test_a_load_that_changes_nothing_leaves_the_tables_page_alone(shop: Shop, instance: DagsterInstance) -> None:
    for number in (1, 2):
        shop.deliver(f"Points_{number}.csv", GOOD)
        shop.run(instance, shop.arrive(instance))
    assert len(instance.fetch_materializations(TABLE, limit=9).records) == 1
