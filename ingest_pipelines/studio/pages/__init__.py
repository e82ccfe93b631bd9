"""The studio's pages, one module each."""

from starlette.routing import Route

from ingest_pipelines.studio.pages import connections, home, new, one_import, rejects, uploads

ROUTES: tuple[Route, ...] = (
    *home.ROUTES,
    *one_import.ROUTES,
    *rejects.ROUTES,
    *new.ROUTES,
    *uploads.ROUTES,
    *connections.ROUTES,
)
