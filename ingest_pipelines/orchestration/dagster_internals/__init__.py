"""Every use of Dagster that is not its public API: `dagster._*` imports, and methods replaced on its objects.

    tags            names of Dagster's own run tags
    instance        an instance whose runs write no log files
    in_process_run  one run of one asset, executed in this process
    warm_launcher   runs in processes of the run server, else in those of the code server
    warm_run        a run in a process that the run server forked
    own_run         which assets the run of this process has selected, before the code location is loaded
    storage         runs, events and ticks in Postgres, over one connection; installs the next six
    storage_schema  a storage of this version is not asked which tables and columns it has
    event_writes    several events of a run are one statement
    run_lock_hook   a process holds its run's lock from the run's start to its end
    pool_limits     a pool gets its limit once, where two runs claim its first slot at the same moment
    pool_wait       a run that waits for a pool rests, says what it waits for, and frees slots of dead runs
    retry_order     a run that will be retried keeps its import's place in the queue
    run_queue       every queued run carries its import and connection
    queue_looks     the daemon looks into the queue several times a second
    switches        turns on the switch of a sensor or schedule from within a tick
    sensor_cursors  the cursor of a sensor by its name
    webserver       the webserver's app, with middleware around it
    code_servers    webserver and daemon start a code server again that died or hangs
    code_refresh    the daemon replaces its code server when the project changed, not every minute
    standby         the next code server has imported everything before it is needed
    code_server     what such a code server does until then
    asset_job       the job of all assets is fetched when a page needs it, not with each load of the project
    kept_jobs       the job and the plan of an asset's runs are asked of the code server once
    planned_events  which partition a run was to materialize, where it was killed before it said so
    run_slots       which queued runs the queue should start now
    run_failures    why runs died, from their events
    ticks           when sensors and schedules ticked last, and which fail, without a code server
    future_ticks    ticks of a clock that was ahead, which would keep sensors and schedules from ticking
    daemon          the daemon, with code servers that are started again
    expected_errors failures and retries of a step that show no stack trace

Each module says which public API it waits for and what breaks without it. setup.py allows two minor versions of
Dagster, and `.ci/versions` tests both ends: to raise the bound is to read this folder and to run its tests.
`architecture/test_dagster_internals.py` keeps the rest of the package out of Dagster's private parts.
"""
