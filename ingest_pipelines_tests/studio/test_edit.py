"""An import's YAML is edited in the studio: checked first, written whole, and never over somebody else's change."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest_pipelines_tests.studio.conftest import PROJECT, Client, Shop, text_of
from ingest_pipelines_tests.studio.form import fields_of_form

POINTS = PROJECT["imports/points.yaml"]


@pytest.fixture(autouse=True)
def unchanged(shop: Shop) -> Iterator[None]:
    """The project is afterwards as it was."""
    yield
    for name, text in PROJECT.items():
        shop.write(name, text)


def edited(client: Client, name: str, old: str, new: str, **more: str) -> dict[str, str]:
    """The fields of the page, with another text."""
    fields = fields_of_form(client.page(f"/imports/{name}/edit").text)
    assert old in fields["text"]
    return {**fields, "text": fields["text"].lstrip("\n").replace(old, new), **more}


def test_a_save_writes_the_file_and_is_in_the_audit_trail(client: Client, shop: Shop) -> None:
    file = shop.settings.home / "imports" / "points.yaml"
    file.chmod(0o640)
    fields = edited(client, "points", "Points from the tills", "Points: <b>all</b>".replace(": ", " "), do="save")
    answer = client.send("/imports/points/edit", fields)
    assert answer.json() == {"said": "imports/points.yaml is written", "goto": "/imports/points"}
    assert file.read_text() == POINTS.replace("Points from the tills", "Points <b>all</b>")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.glob(".*")] == []
    entries = json.loads(shop.terminal.ingest("audit", "points", "--json").out)
    assert "edited" in {entry["what"] for entry in entries}


def test_a_mistake_is_at_its_line_and_nothing_is_written(client: Client, shop: Shop) -> None:
    fields = edited(client, "points", "Points: points}", "Points: pints}")
    assert "line 5: " in text_of(client.send("/imports/points/edit", {**fields, "do": "check"}).text)
    answer = client.send("/imports/points/edit", {**fields, "do": "save"})
    assert answer.status_code == 400
    assert "imports/points.yaml:5: " in answer.json()["error"]
    assert (shop.settings.home / "imports" / "points.yaml").read_text() == POINTS
    assert "no mistakes" in client.send("/imports/points/edit", {"text": POINTS, "do": "check"}).text


def test_of_two_people_who_edit_at_once_the_second_overwrites_nothing(client: Client, shop: Shop) -> None:
    mine = edited(client, "points", "tills", "shops", do="save")
    theirs = edited(shop.client(), "points", "tills", "kiosks", do="save")
    assert client.send("/imports/points/edit", mine).status_code == 200
    refused = shop.client().send("/imports/points/edit", theirs)
    assert refused.status_code == 400
    assert "was changed by another person" in refused.json()["error"]
    assert "shops" in (shop.settings.home / "imports" / "points.yaml").read_text()


def test_a_project_in_an_image_says_that_its_yaml_is_committed_elsewhere(
    client: Client, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system that nobody writes cannot be made here: root writes everywhere."""
    fields = edited(client, "points", "tills", "shops", do="save")

    def write(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "x")

    monkeypatch.setattr(Path, "write_text", write)
    refused = client.send("/imports/points/edit", fields)
    monkeypatch.undo()
    assert refused.status_code == 400
    assert "points.yaml cannot be written: Read-only file system" in refused.json()["error"]
    assert refused.json()["hint"] == "commit the YAML to the project's repository instead"
    assert (shop.settings.home / "imports" / "points.yaml").read_text() == POINTS


def test_a_broken_import_can_be_mended(client: Client, shop: Shop) -> None:
    assert "nowhere" in text_of(client.page("/imports/wrong/edit").text)
    fields = edited(client, "wrong", "database: nowhere", POINTS, do="save")
    assert client.send("/imports/wrong/edit", fields).status_code == 200
    assert shop.terminal.ingest("check", "wrong").code == 0


def test_only_files_of_the_project_are_read(client: Client, shop: Shop) -> None:
    shop.write("secret.yaml", "x: 1\n")
    for name in ("no_such", "..%2fsecret", "%2e%2e%2fsecret", "points.yaml"):
        assert client.page(f"/imports/{name}/edit").status_code in {400, 404}
        assert client.send(f"/imports/{name}/edit", {"text": "x: 2", "do": "save"}).status_code in {400, 404}
    assert (shop.settings.home / "secret.yaml").read_text() == "x: 1\n"
