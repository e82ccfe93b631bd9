"""A run answers the file that it loads, or refuses; a store that refuses the answer changes nothing."""

from __future__ import annotations

import json

from dagster import DagsterInstance

from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop


def test_runs_answer_their_files_whatever_became_of_them(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(receipt={"folder": "outbox"})
    outbox = shop.files / "outbox"

    shop.deliver("Points_1.csv", GOOD)
    result = shop.run(instance, shop.arrive(instance))
    assert result.success
    loaded = json.loads((outbox / "Points_1.csv.receipt.json").read_text())
    assert (loaded["status"], loaded["read"], loaded["inserted"], loaded["rejects"]) == ("committed", 2, 2, None)
    shown = [event.materialization.metadata.get("receipt") for event in result.get_asset_materialization_events()]
    assert [entry.value for entry in shown if entry is not None] == ["outbox/Points_1.csv.receipt.json"]

    for name, text, status, rejects in (
        ("Points_2.csv", ONE_BAD, "failed", "Points_2.csv.rejects.csv"),
        ("Points_3.csv", GOOD.replace("C1", '"C1'), "refused", None),
    ):
        shop.now = shop.now.replace(minute=shop.now.minute + 1)
        shop.deliver(name, text)
        assert not shop.run(instance, shop.arrive(instance)).success
        verdict = json.loads((outbox / f"{name}.receipt.json").read_text())
        assert (verdict["status"], verdict["rejects"]) == (status, rejects)
        assert verdict["reason"]
    assert "C2,Silver,many" in (outbox / "Points_2.csv.rejects.csv").read_text()


def test_a_store_that_refuses_the_answer_is_a_warning(shop: Shop, instance: DagsterInstance) -> None:
    shop.write_import(receipt={"folder": "outbox"})
    (shop.files / "outbox").write_text("a file, where the folder belongs")
    shop.deliver("Points_1.csv", GOOD)
    result = shop.run(instance, shop.arrive(instance))
    assert result.success
    assert shop.rows("SELECT status, inserted FROM ingest.loads") == [("committed", 2)]
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("The load stands. Its receipt could not be written" in message for message in said)
