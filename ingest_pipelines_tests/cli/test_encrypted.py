"""An encrypted delivery, through the commands that a person types: loaded, its rejects corrected, its refusals told."""

from __future__ import annotations

from pathlib import Path

import pysequoia as openpgp

from ingest_pipelines_tests.cli.terminal import Answer, Terminal

IMPORT = """\
database: customers
source:
  connection: uploads
  decrypt: {private_key: {env: TILL_KEY}, signed_by: {file: PUBLIC}}
rejects: {max_rows: 5}
columns: {CID: customer_id, Points: {field: till_points, type: int}}
"""


def flat(answer: Answer) -> str:
    return " ".join((answer.out + answer.err).split())


def test_an_encrypted_delivery_is_loaded_corrected_and_replayed(starter: Terminal, tmp_path: Path) -> None:
    shop, vendor = (openpgp.Tsk.generate(f"{name} <{name}@example.com>") for name in ("shop", "vendor"))
    public = tmp_path / "vendor.asc"
    public.write_bytes(bytes(vendor.extract_certificate()))
    home = Terminal(starter.folder, {**starter.environment, "TILL_KEY": str(shop)})
    (home.folder / "imports" / "till.yaml").write_text(IMPORT.replace("PUBLIC", str(public)), encoding="utf-8")
    delivery = tmp_path / "Till.csv.pgp"
    content, recipients = b"CID,Points\ne1,1\ne2,x\n", [shop.extract_certificate()]

    delivery.write_bytes(openpgp.encrypt(content, recipients, shop.signer()))
    refused = home.ingest("run", "till", "--file", delivery)
    assert refused.code == 1
    assert "the file is not signed by a key of source.decrypt.signed_by" in flat(refused)

    delivery.write_bytes(openpgp.encrypt(content, recipients, vendor.signer()))
    loaded = home.ingest("run", "till", "--file", delivery, "--json")
    assert [(load["read"], load["rejected"]) for load in loaded.json] == [(2, 1)]
    export = home.folder / "till_rejects.csv"
    assert home.ingest("rejects", "export", "till", "-o", export).code == 0
    export.write_text(export.read_text(encoding="utf-8").replace("e2,x", "e2,2"), encoding="utf-8")
    assert home.ingest("rejects", "replay", "till", export, "--json").json[0]["resolved"] == 1

    plain = tmp_path / "Till_2.csv"
    plain.write_bytes(content)
    refused = home.ingest("run", "till", "--file", plain)
    assert "the file is no encrypted OpenPGP message" in flat(refused)
    locked = home.ingest("run", "till", "--file", delivery, TILL_KEY="no key")
    assert "source.decrypt.private_key is no private key" in flat(locked)
