"""The studio's pages, one module each."""

from starlette.routing import Route

from ingest_pipelines.studio.pages import home, one_import, rejects

ROUTES: tuple[Route, ...] = (*home.ROUTES, *one_import.ROUTES, *rejects.ROUTES)
