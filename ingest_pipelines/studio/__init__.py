"""The studio: pages in a browser for what `ingest` does in a terminal. Both call `actions/`; no rule is in a page.

How a page is made:

1. `pages/NAME.py` has `ROUTES`, and is one line in `pages/__init__.py`.
2. An endpoint is `def name(request: Request) -> Response`, without `async`: it may wait for a database. It gets the
   project, the ledger and the person from `studio_of(request)` and `person_of(request)`, calls `actions/`, and ends in
   `render(request, "NAME.html", title=..., ...)`. A refusal is an `IngestError`: the frame words it.
3. A template extends `frame.html`. Every value is escaped. A name from outside goes through `|shown`, a number through
   `|number`, a time through `|moment`. There is no inline script or style: the browser refuses both.
4. What changes something is a form with `data-send`: `studio.js` sends its fields as JSON, with the page's token.
   Its route is `post("/path", endpoint)`; the endpoint begins with `acting(request)`, which refuses a viewer, reads
   `fields_of(request)` and answers `done("what happened", goto="/path")`, or HTML for the element in `data-into`.

`guard.py` and `people.py` keep strangers out of every page; `live.py` pushes what changes.
"""
