"""In a real browser: an import is found and paused, its rejects corrected and loaded, a file uploaded."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from ingest_pipelines_tests.studio.conftest import HOSTILE, PROJECT, Shop

IN_REACH = """
name => {
    const one = document.querySelector(name), { left, top, width, height } = one.getBoundingClientRect();
    return document.elementFromPoint(left + width / 2, top + height / 2) === one;
}
"""
"""Whether a click on the middle of it reaches it."""


def test_an_import_is_found_and_paused_and_its_row_changes_without_a_reload(address: str, clean: Page) -> None:
    clean.goto(address)
    expect(clean.locator("#live")).to_be_visible()
    clean.get_by_label("Search").fill("tills")
    expect(clean.get_by_role("row", name="points")).to_be_visible()
    expect(clean.locator("tr[data-name=orders]")).to_be_hidden()
    clean.get_by_role("button", name="Pause: points").click()
    expect(clean.locator("tr[data-name=points] .status")).to_contain_text("paused")
    expect(clean.locator("[data-count=paused]")).to_have_text("paused 1")
    expect(clean.locator("[data-count=completed_with_rejects]")).to_be_hidden()
    clean.get_by_role("button", name="Resume: points").focus()
    clean.keyboard.press("Enter")
    expect(clean.locator("tr[data-name=points] .status")).to_contain_text("completed with rejects")
    expect(clean.locator("[data-count=paused]")).to_be_hidden()
    assert clean.url.endswith("?q=tills")


def test_an_item_that_failed_is_skipped_for_a_reason_that_is_typed(shop: Shop, address: str, clean: Page) -> None:
    shop.write("uploads/Never_1.csv", "Customer\nN-1\n")
    assert shop.terminal.ingest("run", "never").code != 0
    clean.goto(f"{address}/imports/never")
    row = clean.get_by_role("region", name="Open items").get_by_role("row", name="Never_1.csv")
    row.get_by_role("button", name="Skip").click()
    clean.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    row.get_by_role("button", name="Skip").click()
    clean.get_by_label("Why").fill("sent by mistake")
    clean.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(clean.locator("#said")).to_contain_text("Never_1.csv of never will not be loaded")
    expect(row).to_have_count(0)
    [entry] = [one for one in shop.terminal.ingest("audit", "--json").json if one["import"] == "never"]
    assert (entry["what"], entry["detail"]["reason"]) == ("skipped", "sent by mistake")
    (shop.settings.home / "uploads/Never_1.csv").unlink()


def test_a_rejected_row_is_corrected_judged_and_loaded_and_a_reload_loses_nothing(
    shop: Shop, address: str, clean: Page
) -> None:
    rows = f'C-8,x,Gold,many\nC-9,"{HOSTILE}",Gold,"<b>"\nC-10,ken@example.com,"Silver\nGold",1\n'
    shop.write("more.csv", f"CID,Email,Tier,Points\n{rows}")
    assert shop.terminal.ingest("run", "points", "--file", shop.settings.home / "more.csv").code == 0
    clean.goto(f"{address}/imports/points")
    clean.get_by_role("link", name="Rejects").click()
    row = clean.locator("tr[data-line='2']")
    expect(row.locator("td.broken")).to_have_count(3)
    row.get_by_label("Points, line 2").fill("12")
    row.get_by_label("Tier, line 2").fill("Silver")
    row.get_by_label("Tier, line 2").press("Tab")
    expect(row.locator(".verdict")).to_have_text("breaks a rule")
    clean.get_by_role("button", name="Apply to 1 like this").click()
    expect(clean.get_by_label("Tier, line 3")).to_have_value("Silver")
    clean.reload()
    expect(row.get_by_label("Points, line 2")).to_have_value("12")
    row.get_by_label("Email, line 2").fill("eve@example.com")
    row.get_by_label("Email, line 2").press("Tab")
    expect(row.locator(".verdict")).to_have_text("passes")
    expect(clean.locator("#tally")).to_have_text("2 corrected, 1 pass")
    two_lines = clean.locator("tr[data-line='4']")
    cell = two_lines.get_by_label("Tier, line 4")
    cell.fill("Silver")
    cell.press("Tab")
    expect(two_lines.locator(".verdict")).to_have_text("passes")
    expect(two_lines.locator("td.broken")).to_have_count(0)
    two_lines.get_by_role("button", name="Undo").click()
    expect(two_lines.locator("td.broken .why")).not_to_be_empty()
    expect(two_lines.locator("[aria-invalid=true]")).to_be_focused()
    expect(cell).to_have_value("Silver\nGold")
    expect(clean.locator("#tally")).to_have_text("2 corrected, 1 pass")
    clean.evaluate("say('it is refused\\nnothing was loaded', 'correct it', true)")
    clean.wait_for_function(IN_REACH, arg="#replay")
    clean.get_by_role("button", name="Load what passes").click()
    expect(clean.locator("#said")).to_contain_text("1 corrected row of load")
    expect(clean.locator("#part .notice.good")).to_contain_text("1 reject of load", timeout=60_000)
    clean.get_by_role("link", name="Rejects").click()
    expect(clean.locator("tr[data-line]")).to_have_count(2)
    expect(clean.get_by_label("Tier, line 3")).to_have_value("Silver")


def test_a_text_that_is_not_saved_stays_in_the_tab_beside_a_file_that_changed_meanwhile(
    shop: Shop, address: str, clean: Page
) -> None:
    file, theirs = PROJECT["imports/points.yaml"], PROJECT["imports/points.yaml"].replace("tills", "shops")
    editor, mine = clean.get_by_label("YAML"), clean.locator("#mine-text")
    clean.set_viewport_size({"width": 390, "height": 700})
    clean.goto(f"{address}/imports/points/edit")
    editor.fill(f"{file}# mine\n")
    clean.get_by_role("button", name="Check").click()
    expect(clean.locator("#checked")).to_have_text("no mistakes")
    box = clean.get_by_role("button", name="Check").bounding_box()
    assert box is not None
    clean.set_viewport_size({"width": 390, "height": int(box["y"] + box["height"]) + 40})  # what is said would cover it
    clean.evaluate("say('nothing was written '.repeat(9), 'correct it', true)")
    clean.wait_for_function(IN_REACH, arg="button[value=check]")
    clean.reload()
    expect(editor).to_have_value(f"{file}# mine\n")
    expect(mine).to_be_hidden()
    shop.write("imports/points.yaml", theirs)
    try:
        clean.reload()
        expect(editor).to_have_value(theirs)
        expect(mine).to_have_value(f"{file}# mine\n")
        clean.get_by_role("button", name="Discard my text").click()
        clean.reload()
        expect(clean.locator("#mine")).to_be_hidden()
    finally:
        shop.write("imports/points.yaml", file)


def test_a_file_dropped_on_its_row_is_uploaded_under_a_name_of_ours_and_its_load_reported(
    shop: Shop, address: str, clean: Page
) -> None:
    folder = shop.settings.home / "uploads"
    folder.mkdir(exist_ok=True)
    clean.goto(address)
    files = clean.evaluate_handle(
        """text => { const files = new DataTransfer(); files.items.add(new File([text], "../../<b>my.data.csv"));
        return files; }""",
        "CID,Email,Tier,Points\nC-20,zoe@example.com,Silver,10\nC-21,,Silver,1\n",
    )
    row = clean.locator("tr[data-name=points]")
    row.dispatch_event("dragover", {"dataTransfer": files})
    expect(row).to_have_class(re.compile(r"\bover\b"))
    row.dispatch_event("drop", {"dataTransfer": files})
    clean.wait_for_url(f"{address}/imports/points")
    expect(clean.locator("#part .notice.good")).to_contain_text("2 rows read, 2 inserted", timeout=60_000)
    assert [re.sub(r"\d+", "N", file.name) for file in folder.iterdir()] == ["Points_N.csv"]


def test_what_is_typed_survives_a_reload_before_it_is_sent(address: str, clean: Page) -> None:
    clean.goto(f"{address}/new")
    clean.route("**/new/*", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    clean.locator("#f-name").fill("loyalty")
    clean.unroute("**/new/*")
    with clean.expect_response(lambda answer: answer.request.method == "POST"):
        clean.reload()
    expect(clean.locator("#f-name")).to_have_value("loyalty")
    clean.locator("#f-name").fill("points_2")
    clean.reload()
    expect(clean.locator("#f-name")).to_have_value("points_2")
