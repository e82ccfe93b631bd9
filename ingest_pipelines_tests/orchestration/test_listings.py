"""However a source misbehaves, ticks end in time, other connections are not late, and the ledger says what is wrong."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ingest_pipelines import ledger
from ingest_pipelines.errors import IngestError, SourceDenied, SourceUnavailable
from ingest_pipelines.ledger.source_checks import SourceCheck
from ingest_pipelines.orchestration.sensors import listings as looks
from ingest_pipelines.orchestration.sensors.file_items import FileItems, find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings, StillListing
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines_tests.orchestration.conftest import GOOD, IMPORT, Shop
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.servers.sftp import SftpServer

IMPORTS = [f"till_{number}" for number in range(5)]
PATIENCE = 0.5

FAULTS = {
    "refused": Fault(refuse=True),
    "silent from the first byte": Fault(stall_after_received=0),
    "silent in the key exchange": Fault(stall_after_received=200),
    "silent in the login": Fault(stall_after_received=1_600),
    "silent in the listing": Fault(stall_after_received=2_400),
    "cut in the login": Fault(cut_after_received=1_600),
    "cut in the listing": Fault(cut_after_received=2_400),
}
"""And what a look at such a server shows: the trouble, and the steps that may have failed."""

SHOWN: dict[str, tuple[str, set[str]]] = {
    "refused": ("unreachable", {"connect", "host key"}),
    "silent from the first byte": ("hung", {"host key"}),
    "silent in the key exchange": ("hung", {"host key"}),
    "silent in the login": ("hung", {"host key", "login"}),
    "silent in the listing": ("hung", {"login", "folder", "list"}),
    "cut in the login": ("unreachable", {"host key", "login"}),
    "cut in the listing": ("unreachable", {"login", "folder", "list"}),
}


@dataclass
class Vendor:
    """Five imports of one SFTP server behind a proxy, and one import of a local folder."""

    shop: Shop
    site: Site
    proxy: CutProxy

    def look(self, name: str, listings: Listings) -> FileItems | IngestError:
        """What a tick finds, or why it finds nothing."""
        try:
            return find_file_items(self.site, self.site.project.require(name), listings)
        except IngestError as error:
            return error

    def tick_all(self, listings: Listings) -> dict[str, FileItems | IngestError]:
        """All ticks at once, as Dagster's threads evaluate them."""
        with ThreadPoolExecutor(len(IMPORTS)) as pool:
            return dict(zip(IMPORTS, pool.map(lambda name: self.look(name, listings), IMPORTS), strict=True))

    def recovered(self, listings: Listings) -> bool:
        """Whether every tick finds its files, a minute after the last ones."""
        self.shop.now += looks.LONGEST_PAUSE
        return all(isinstance(tick, FileItems) for tick in self.tick_all(listings).values())

    def checks(self) -> dict[str, SourceCheck]:
        with self.site.target.session() as connection:
            return ledger.list_source_checks(connection)


@pytest.fixture
def vendor(shop: Shop, sftp_server: SftpServer, sftp_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    monkeypatch.setenv("VENDOR_KEY", sftp_server.private_key)
    for name in IMPORTS:
        folder = sftp_folder / name
        folder.mkdir()
        (folder / "Points_1.csv").write_text(GOOD)
        os.utime(folder / "Points_1.csv", (1_700_000_000, 1_700_000_000))
    with CutProxy(sftp_server.host, sftp_server.port) as proxy:
        shop.add_vendor(
            vendor=sftp_server.connection(
                host=proxy.host, port=proxy.port, root=str(sftp_folder), timeout_seconds=2, retries=1
            )
        )
        for name in IMPORTS:
            source = {"connection": "vendor", "file": f"{name}/Points", "settle": "1s"}
            text = yaml.safe_dump({**IMPORT, "source": source})
            (shop.home / "imports" / f"{name}.yaml").write_text(text)
        shop.now = datetime.now(UTC)
        site = shop.site()
        assert site.target
        yield Vendor(shop, site, proxy)


def _until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _looks() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("look at ")]


@contextmanager
def nothing_is_left() -> Iterator[None]:
    """Threads and sockets of this process are after the block what they were before it."""
    process = psutil.Process()
    threads = set(threading.enumerate())
    sockets = len(process.net_connections("tcp"))
    yield
    _until(lambda: set(threading.enumerate()) <= threads)
    _until(lambda: len(process.net_connections("tcp")) <= sockets)


SLOW = {"silent in the key exchange", "cut in the login", "cut in the listing"}
"""Faults that the fast suite leaves out: they are others a little earlier, or by another end of the connection."""


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=pytest.mark.slow if fault in SLOW else ()) for fault in FAULTS]
)
def test_ticks_of_a_source_in_trouble_end_in_time_and_say_what_is_wrong(vendor: Vendor, fault: str) -> None:
    trouble, steps = SHOWN[fault]
    listings = Listings(patience_seconds=PATIENCE)
    vendor.shop.deliver("Points_1.csv", GOOD)
    vendor.proxy.break_with(FAULTS[fault])
    with nothing_is_left():
        before = vendor.shop.now
        began = time.monotonic()
        ticks = vendor.tick_all(listings)
        assert time.monotonic() - began < PATIENCE + 3
        assert all(isinstance(tick, SourceUnavailable) for tick in ticks.values())
        assert isinstance(vendor.look("points", listings), FileItems)  # another connection
        _until(lambda: len({name for name, check in vendor.checks().items() if check.trouble}) == len(IMPORTS))
        for name in IMPORTS:
            check = vendor.checks()[name]
            assert (check.connection, check.trouble) == ("vendor", trouble)
            assert check.step in steps
            assert check.failing_since == before
            assert check.succeeded_at is None
        again = vendor.tick_all(listings)  # in the pause: at once, and nothing is asked
        assert all(isinstance(tick, SourceUnavailable) for tick in again.values())
        asked = vendor.proxy.connections
        assert asked <= 1 + looks.QUICK_RETRIES
        vendor.proxy.mend()
        _until(lambda: vendor.recovered(listings))
        vendor.proxy.cut_all()
    recovered = vendor.checks()
    assert all((recovered[name].trouble, recovered[name].failing_since) == (None, None) for name in IMPORTS)


def test_a_connection_in_trouble_holds_up_one_tick_at_a_time(vendor: Vendor) -> None:
    listings = Listings(patience_seconds=PATIENCE)
    vendor.proxy.break_with(Fault(stall_after_received=0))
    vendor.tick_all(listings)
    _until(lambda: len(vendor.checks()) == len(IMPORTS))
    _until(lambda: not _looks())
    vendor.shop.now += looks.LONGEST_PAUSE
    seconds: list[float] = []

    def timed(name: str) -> None:
        began = time.monotonic()
        assert isinstance(vendor.look(name, listings), SourceUnavailable)
        seconds.append(time.monotonic() - began)

    first = threading.Thread(target=timed, args=[IMPORTS[0]])
    first.start()
    _until(_looks)
    for name in IMPORTS[1:]:
        timed(name)
    assert max(seconds) < PATIENCE
    first.join()
    assert len(_looks()) <= 1


def test_what_a_slow_look_shows_is_in_the_ledger_after_its_ticks_have_left(vendor: Vendor) -> None:
    listings = Listings(patience_seconds=0.05)
    vendor.proxy.break_with(Fault(delay_seconds=0.05))
    ticks = vendor.tick_all(listings)
    assert all(isinstance(tick, StillListing) for tick in ticks.values())
    assert "connection vendor: still listing since" in str(ticks[IMPORTS[0]])
    _until(lambda: vendor.shop.rows("SELECT count(*) FROM ingest.items") == [(len(IMPORTS),)])
    assert {check.trouble for check in vendor.checks().values()} == {None}
    assert vendor.proxy.connections == 1


def test_a_process_that_has_just_begun_knows_from_the_ledger_that_a_connection_fails(vendor: Vendor) -> None:
    vendor.proxy.break_with(Fault(stall_after_received=0))
    vendor.tick_all(Listings(patience_seconds=PATIENCE))
    _until(lambda: len(vendor.checks()) == len(IMPORTS))
    since = vendor.checks()[IMPORTS[0]].failing_since
    other = Listings(patience_seconds=PATIENCE)
    answers = vendor.tick_all(other)
    assert any(f"it fails since {since:%Y-%m-%d}" in str(answer) for answer in answers.values())
    _until(lambda: not _looks())
    assert vendor.checks()[IMPORTS[0]].failing_since == since


def test_a_look_that_takes_too_long_is_recorded_and_then_cut(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "OVERDUE_SECONDS", 0.3)
    monkeypatch.setattr(looks, "LOOK_SECONDS", 0.8)
    path = vendor.shop.home / "connections.yaml"
    path.write_text(path.read_text().replace("timeout_seconds: 2", "timeout_seconds: 600"))
    vendor.site = vendor.shop.site()
    vendor.proxy.break_with(Fault(stall_after_received=2_400))
    with nothing_is_left():
        vendor.tick_all(Listings(patience_seconds=0.1))
        _until(lambda: "no listing within 0.8 s" in vendor.checks().get(IMPORTS[0], _NO_CHECK).error)
        vendor.proxy.cut_all()
    assert {check.trouble for check in vendor.checks().values()} == {"hung"}


_NO_CHECK = SourceCheck("", "", datetime.min)


def test_a_folder_that_is_missing_is_the_trouble_of_its_import_alone(vendor: Vendor, sftp_folder: Path) -> None:
    shutil.rmtree(sftp_folder / IMPORTS[3])
    ticks = vendor.tick_all(Listings(patience_seconds=20.0))
    assert {name for name, tick in ticks.items() if isinstance(tick, SourceDenied)} == {IMPORTS[3]}
    checks = vendor.checks()
    assert (checks[IMPORTS[3]].trouble, checks[IMPORTS[3]].step) == ("denied", "list")
    assert {checks[name].trouble for name in IMPORTS if name != IMPORTS[3]} == {None}


def test_a_file_that_still_changes_is_known_with_when_it_was_first_seen(vendor: Vendor, sftp_folder: Path) -> None:
    new = sftp_folder / IMPORTS[0] / "Points_2.csv"
    new.write_text(GOOD)
    ahead = vendor.shop.now.timestamp() + 3600
    os.utime(new, (ahead, ahead))
    assert isinstance(vendor.look(IMPORTS[0], Listings(patience_seconds=20.0)), FileItems)
    assert vendor.checks()[IMPORTS[0]].settling == {f"{IMPORTS[0]}/Points_2.csv": vendor.shop.now.isoformat()}
    new.unlink()
    assert isinstance(vendor.look(IMPORTS[0], Listings(patience_seconds=20.0)), FileItems)
    assert vendor.checks()[IMPORTS[0]].settling == {}
