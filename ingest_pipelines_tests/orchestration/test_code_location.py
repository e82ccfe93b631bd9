"""`ingest_definitions`: a project's imports beside a team's own definitions, and beside another project's.

(No `from __future__ import annotations` here: Dagster reads the annotations of assets.)
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    DagsterInvariantViolationError,
    DagsterRunStatus,
    Definitions,
    EnvVar,
    ExecutorDefinition,
    InputContext,
    IOManager,
    OutputContext,
    ScheduleDefinition,
    SensorDefinition,
    SkipReason,
    asset,
    define_asset_job,
    in_process_executor,
    job,
    multiprocess_executor,
    op,
)
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines import ingest_definitions
from ingest_pipelines.config.placement import ALONE, Placement, key_prefix_of
from ingest_pipelines.config.settings import read_location_settings
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.model import ItemKey
from ingest_pipelines.orchestration import neighbours
from ingest_pipelines.orchestration.assets.partitions import add_partitions
from ingest_pipelines.orchestration.runs.dead_runs import clear_up_dead_runs
from ingest_pipelines.orchestration.runs.item_runs import runs_of_items
from ingest_pipelines.orchestration.runs.prune import prune_runs
from ingest_pipelines.orchestration.runs.tags import is_run_of
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.conftest import GOOD, IMPORT, NOW, Shop, new_shop

PROJECT_SENSORS = ("housekeeping", "activation", "alerts")


@pytest.fixture(autouse=True)
def no_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Projects of other tests are not in this one's code location."""
    monkeypatch.setattr(neighbours, "_neighbours", [])


class TeamsIOManager(IOManager):
    """A team's own, which knows nothing of rows of an import."""

    def handle_output(self, context: OutputContext, obj: object) -> None:
        raise AssertionError("a team's io_manager got an output of an import")

    def load_input(self, context: InputContext) -> object:
        raise AssertionError("a team's io_manager was asked for an input of an import")


@op
def land() -> None:
    """A team's own op, with the name of one of our steps."""


@job(executor_def=multiprocess_executor)
def nightly() -> None:
    land()


@job
def check_now() -> None:
    """A team's own job, with the name of a job of ours."""
    land()


@asset(required_resource_keys={"target"})
def mart(context: AssetExecutionContext) -> None:
    """A team's own asset, with a resource of the name that one of ours has."""
    assert context.resources.target == "the team's"


def team(*, executor: ExecutorDefinition | None = None) -> Definitions:
    """A team's code location that uses every name which one could expect an import to use."""
    names = ("housekeeping", "activation", "alerts", "files", "check_now_runs")
    return Definitions(
        assets=[mart],
        jobs=[nightly, check_now, define_asset_job("marts", AssetSelection.assets(mart))],
        sensors=[
            SensorDefinition(name=name, evaluation_fn=lambda context: SkipReason("nothing"), job_name="nightly")
            for name in names
        ],
        schedules=[ScheduleDefinition(name="schedule", cron_schedule="0 6 * * *", job_name="nightly")],
        resources={
            "target": "the team's", "site": "the team's", "handles": "the team's", "uploads": "the team's",
            "io_manager": TeamsIOManager(),
        },
        executor=executor,
    )  # fmt: skip


def imports_of(shop: Shop, *, key_prefix: str = "", **arguments: Any) -> Definitions:
    return ingest_definitions(
        shop.home, key_prefix=key_prefix, state=shop.state, target_url=shop.database_url, **arguments
    )


def load_next_file(defs: Definitions, shop: Shop, instance: DagsterInstance, key_prefix: str = "") -> str:
    """Runs the import's asset for its newest file, as a person does in the UI; the run's id."""
    site = shop.site(placement=Placement(key_prefix_of(key_prefix)))
    bound = site.project.require("points")
    item = find_file_items(site, bound, Listings()).items[-1]
    add_partitions(bound, [str(item.key)], instance)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[AssetKey([*site.project.placement.key_prefix, "customers", "points"])],
        partition_key=str(item.key),
        instance=instance,
    )
    assert result.success
    return result.run_id


def test_imports_merge_with_a_team_that_has_an_executor_and_every_name_that_we_could_have(
    shop: Shop, instance: DagsterInstance
) -> None:
    shop.add_vendor()
    shop.write_import("tills", source={"connection": "vendor", "file": "tills/Points"}, status="draft")
    shop.write_import(
        "loyalty", source={"connection": "vendor", "file": "loyalty/Points"}, schedule={"every": "6h"},
        notify=[{"on": ["failed"], "to": {"env": "HOME"}}],
    )  # fmt: skip
    (shop.home / "imports" / "wrong.yaml").write_text(yaml.safe_dump({**IMPORT, "modus": "add_only"}))
    shop.deliver("Points.csv", GOOD)
    imports = imports_of(shop)
    assert imports.executor is None
    defs = Definitions.merge(imports, team(executor=multiprocess_executor))
    Definitions.validate_loadable(defs)
    repository = defs.get_repository_def()
    assert repository.get_job("nightly").executor_def is multiprocess_executor
    assert repository.get_job("marts").executor_def is multiprocess_executor
    assert repository.has_job("check_now")
    assert repository.has_job("ingest__check_now")
    sensors = {sensor.name for sensor in repository.sensor_defs}
    assert sensors > {f"ingest__{name}" for name in PROJECT_SENSORS} | {"customers__tills__files"} | {*PROJECT_SENSORS}
    load_next_file(defs, shop, instance)
    assert shop.rows("SELECT customer_id, points FROM crm.customers ORDER BY 1") == [("C1", 10), ("C2", 20)]
    assert repository.get_job("marts").execute_in_process(instance=instance).success


def test_a_teams_jobs_keep_the_default_executor_where_it_sets_none(shop: Shop) -> None:
    alone = team().get_repository_def().get_job("marts").executor_def
    merged = Definitions.merge(team(), imports_of(shop)).get_repository_def().get_job("marts").executor_def
    assert merged is alone


def test_an_executor_that_is_asked_for_is_the_one_of_the_location(shop: Shop) -> None:
    imports = imports_of(shop, executor="in_process")
    assert imports.executor is in_process_executor
    assert Definitions.merge(imports, team(executor=in_process_executor)).executor is in_process_executor


@pytest.fixture
def shops(tmp_path: Path, ledger_url: str, postgres_url: str) -> Iterator[tuple[Shop, Shop]]:
    """Two projects with the same names, each with a target of its own."""
    with fresh_target(postgres_url) as second:
        yield new_shop(tmp_path / "eu", ledger_url), new_shop(tmp_path / "us", second)


def test_two_projects_with_the_same_names_share_a_location(shops: tuple[Shop, Shop], instance: DagsterInstance) -> None:
    both = dict(zip(("eu", "us/west"), shops, strict=True))
    for points, shop in enumerate(shops):
        shop.add_vendor(drops={"type": "s3", "bucket": "drops"})
        shop.write_import("tills", source={"connection": "drops", "file": "tills/Points"}, schedule={"every": "6h"})
        (shop.home / "imports" / "wrong.yaml").write_text(yaml.safe_dump({**IMPORT, "modus": "add_only"}))
        shop.deliver("Points.csv", f"{GOOD}C3,Gold,{points},2024-06-01\n")
    defs = Definitions.merge(team(), *(imports_of(shop, key_prefix=prefix) for prefix, shop in both.items()))
    Definitions.validate_loadable(defs)
    repository = defs.get_repository_def()
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} - {"mart"}
    assert {key.removeprefix("eu/") for key in keys if key.startswith("eu/")} == {
        "customers/points", "customers/tills", "customers/wrong", "table/crm/customers", "source/uploads/points/Points",
        "source/drops/tills/Points",
    }  # fmt: skip
    assert {key.removeprefix("us/west/") for key in keys if key.startswith("us/west/")} == {
        key.removeprefix("eu/") for key in keys if key.startswith("eu/")
    }
    for prefix, shop in both.items():
        load_next_file(defs, shop, instance, prefix)
    newest = "SELECT points FROM crm.customers WHERE customer_id = 'C3'"
    assert [shop.rows(newest) for shop in shops] == [[(0,)], [(1,)]]
    changed = {
        record.asset_entry.asset_key.to_user_string()
        for record in instance.get_asset_records()
        if record.asset_entry.last_materialization is not None
    }
    assert {f"{prefix}/table/crm/customers" for prefix in both} <= changed


@pytest.mark.parametrize("prefix", ["", "crm/eu"])
def test_two_projects_of_one_prefix_are_refused_by_dagster_and_named_by_us(
    shops: tuple[Shop, Shop], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = f"{shops[0].home} and {shops[1].home} both .*{prefix}.* another key_prefix"
    with pytest.raises(DagsterInvariantViolationError, match="ingest__site"), pytest.warns(UserWarning, match=folders):
        Definitions.merge(*(imports_of(shop, key_prefix=prefix) for shop in shops))
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")  # where Dagster shows no warning
    with pytest.raises(ConfigError, match=f"{shops[1].home} and {shops[0].home} both"):
        imports_of(shops[0], key_prefix=prefix)


def test_two_projects_with_one_target_and_one_name_are_named(
    shops: tuple[Shop, Shop], recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger in the target would take their imports for one."""
    one, two = (shop.home for shop in shops)
    target = EnvVar("WAREHOUSE_URL")
    ingest_definitions(one, key_prefix="clash/eu", target_url=target)
    ingest_definitions(one, key_prefix="clash/eu", target_url=target)  # read again: nothing new
    ingest_definitions(two, key_prefix="clash/us", target_url=EnvVar("OTHER_URL"))
    assert not recwarn.list
    ingest_definitions(two, key_prefix="clash/us", target_url=target)
    (warned,) = recwarn.list
    assert f"{one} and {two} have one target, and both have imports/points.yaml" in str(warned.message)
    assert warned.filename == __file__
    monkeypatch.setenv("DAGSTER_IS_DEFS_VALIDATION_CLI", "1")
    with pytest.raises(ConfigError, match=f"{two} and {one} have one target"):
        ingest_definitions(one, key_prefix="clash/eu", target_url=target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_url": "mysql://root:hunter2@db/crm"}, "target_url: not the URL of a Postgres"),
        ({"target_url": 5}, "target_url: not the URL of a Postgres"),
        ({"target_url": EnvVar("")}, "target_url: the EnvVar has no name"),
        ({"executor": "dockr"}, "executor: there is no executor 'dockr'"),
        ({"executor": multiprocess_executor}, "executor: expected one of in_process"),
        ({"executor": "k8s"}, "neither spill nor INGEST_SPILL_URI"),
        ({"spill": "/shared"}, "spill: /shared is neither a folder nor a bucket"),
        ({"key_prefix": 5}, "key_prefix: not a text"),
        ({"key_prefix": AssetKey(["crm"])}, "key_prefix: not a text"),
        ({"key_prefix": "a b"}, "key_prefix: 'a b' is no part"),
        ({"state": __file__}, "state: .* is no folder"),
        ({"project": Path(__file__)}, "project: .* there is no such folder"),
        ({"project": Path(__file__).parent}, "project: .* there is no project in it"),
    ],
)
def test_a_mistake_in_an_argument_is_named_by_the_argument(shop: Shop, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        ingest_definitions(**{"project": shop.home, **arguments})
    assert "hunter2" not in str(raised.value)
    assert raised.value.hint


def test_the_run_of_another_projects_import_is_not_this_ones(instance: DagsterInstance) -> None:
    """Both have an import of this name, and a window of this key."""
    key = ItemKey("2026-11-01")
    tags = {"dagster/partition": key, "ingest/import": "points", "ingest/project": "eu"}
    run = instance.create_run_for_job(nightly, tags=tags, status=DagsterRunStatus.STARTED)
    places = {name: Placement(key_prefix_of(name)) for name in ("eu", "us", "eu/west", "")}
    known = {
        name: [runs.newest for runs in runs_of_items([("points", key)], place, instance, NOW).values()]
        for name, place in places.items()
    }
    assert known == {"eu": [run.run_id], "us": [], "eu/west": [], "": []}


def test_a_projects_housekeeping_leaves_the_runs_of_a_team_alone(shop: Shop, instance: DagsterInstance) -> None:
    site = shop.site()
    started = instance.create_run_for_job(nightly, tags={".dagster/grpc_info": "{}"}, status=DagsterRunStatus.STARTING)
    plan = instance.create_run_for_job(nightly, tags={"ingest/dry_run": "true"}, status=DagsterRunStatus.SUCCESS)
    future = shop.now + timedelta(days=9_000)
    site = Site(site.settings, site.project, clock=lambda: future)
    assert clear_up_dead_runs(site, instance) == []
    assert prune_runs(site, instance, future)[0] == 0
    assert instance.get_run_by_id(started.run_id).status is DagsterRunStatus.STARTING  # type: ignore[union-attr]
    assert instance.get_run_by_id(plan.run_id) is not None


@pytest.mark.parametrize(
    ("tags", "assets", "placement", "own"),
    [
        ({"ingest/import": "points"}, [], ALONE, True),
        ({"ingest/import": "points"}, [], Placement(("eu",)), False),
        ({"ingest/import": "points", "ingest/project": "eu"}, [], Placement(("eu",)), True),
        ({"ingest/import": "points", "ingest/project": "eu"}, [], ALONE, False),
        ({"ingest/import": "points", "ingest/project": "us.west"}, [], Placement(("us", "west")), True),
        ({}, [["customers", "points"]], ALONE, True),
        ({}, [["eu", "customers", "points"]], ALONE, False),
        ({}, [["eu", "customers", "points"]], Placement(("eu",)), True),
        ({}, [["mart"]], ALONE, False),
        ({}, [], ALONE, False),
    ],
)
def test_whose_run_it_is(
    tags: dict[str, str], assets: list[list[str]], placement: Placement, own: bool, instance: DagsterInstance
) -> None:
    run = instance.create_run_for_job(nightly, tags=tags)
    selection = frozenset(map(AssetKey, assets)) or None
    assert is_run_of(run._replace(asset_selection=selection), placement) is own


def test_the_group_is_that_of_every_asset(shop: Shop) -> None:
    (shop.home / "imports" / "wrong.yaml").write_text(yaml.safe_dump({**IMPORT, "modus": "add_only"}))
    (shop.home / "imports" / "none.yaml").write_text("modus: add_only\n")
    specs = imports_of(shop, key_prefix="eu", group="crm").resolve_all_asset_specs()
    assert {spec.group_name for spec in specs} == {"crm"}
    assert {spec.key.path[0] for spec in specs} == {"eu"}
    assert len(specs) == 5


def test_the_target_is_read_by_a_run_and_not_before(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.deliver("Points.csv", GOOD)
    defs = ingest_definitions(shop.home, state=shop.state, target_url=EnvVar("WAREHOUSE_URL"))
    with pytest.raises(Exception, match="WAREHOUSE_URL: this variable is to hold the URL of the target Postgres"):
        load_next_file(defs, shop, instance)
    monkeypatch.setenv("WAREHOUSE_URL", shop.database_url)
    load_next_file(defs, shop, instance)
    assert shop.rows("SELECT count(*) FROM crm.customers") == [(2,)]
    shown = repr(defs.get_repository_def().get_top_level_resources())
    assert shop.database_url not in shown


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        ingest_definitions(tmp_path / "nowhere")


PARTS = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)


@given(st.lists(PARTS, max_size=3), st.lists(PARTS, max_size=3), PARTS, PARTS)
def test_no_two_prefixes_make_the_same_names(
    first: Sequence[str], second: Sequence[str], name: str, other: str
) -> None:
    try:
        one, two = Placement(key_prefix_of(first)), Placement(key_prefix_of(second))
    except ConfigError:
        return
    assert (one.named(name) == two.named(other)) == (one == two and name == other)
    assert (one.tag == two.tag) == (one == two)


@pytest.mark.parametrize("wrong", ["a b", "a/", "/a", "a//b", "1a", "a-b", "a__b", "a_", "ingest", "a" * 61, "ä"])
def test_a_prefix_that_dagster_or_we_cannot_take_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="key_prefix"):
        key_prefix_of(wrong)


def test_the_state_folder_of_each_prefix_is_its_own(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("INGEST_STATE", str(tmp_path))
    monkeypatch.setenv("INGEST_KEY_PREFIX", "eu/west")
    settings = read_location_settings(shop.home)
    assert settings.placement == Placement(("eu", "west"))
    assert settings.state == tmp_path / "eu" / "west"
    assert read_location_settings(shop.home, key_prefix="us", state=shop.state).state == shop.state
