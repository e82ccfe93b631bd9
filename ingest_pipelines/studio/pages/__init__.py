"""The studio's pages, one module each."""

from starlette.routing import Route

from ingest_pipelines.studio.pages import alerts, connections, edit, home, new, one_import, rejects, uploads

ROUTES: tuple[Route, ...] = (
    *home.ROUTES,
    *one_import.ROUTES,
    *edit.ROUTES,
    *rejects.ROUTES,
    *new.ROUTES,
    *uploads.ROUTES,
    *connections.ROUTES,
    *alerts.ROUTES,
)
