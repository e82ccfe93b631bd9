"""The studio's pages, one module each."""

from starlette.routing import Route

from ingest_pipelines.studio.pages import home

ROUTES: tuple[Route, ...] = (*home.ROUTES,)
