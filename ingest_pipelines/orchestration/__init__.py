"""The thin shell around the story: Dagster's assets, sensors, schedules, runs, and the processes that serve them.

    assets, checks, resources, io_managers    what Dagster shows and runs
    sensors, schedules, automation            when an import runs by itself
    check_now                                 what a person or another system asks for
    runs                                      launch, tags, locks, files, dead runs
    alerts                                    who is told of a problem, and when
    serving                                   `ingest up`
    run_server                                processes that are ready for runs
    dagster_internals                         everything that is not Dagster's public API
    definitions, instance, site               a project's Definitions, the Dagster instance, the settings of a process

Users' files name five modules, which only pass on to the rooms: `storage`, `run_queue`, `run_launcher` (dagster.yaml),
`webserver` (service units) and `celery_worker`. Importing this package imports no Dagster; its modules do.
"""
