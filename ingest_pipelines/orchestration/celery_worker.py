"""A worker that executes steps from the queue: `celery -A ingest_pipelines.orchestration.celery_worker worker`.

Needs the same environment and project as the runs: INGEST_CELERY_BROKER, INGEST_HOME, INGEST_DATABASE_URL,
INGEST_DAGSTER_URL, INGEST_SPILL_URI, DAGSTER_HOME.
"""

from dagster_celery.executor import CeleryExecutor
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.runs.executors import celery_config
from ingest_pipelines.owner_only import take_private_umask

take_private_umask()
_executor = CeleryExecutor.for_cli(**celery_config(read_settings()))  # type: ignore[no-untyped-call]  # has no types
app = make_app(_executor.app_args())  # type: ignore[no-untyped-call]  # has no types
execute_plan = create_task(app)  # type: ignore[no-untyped-call]  # has no types
