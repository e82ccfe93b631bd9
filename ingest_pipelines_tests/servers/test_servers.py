"""Every server starts, answers its client, and tells right credentials from wrong ones where it has any."""

from __future__ import annotations

import base64
import dataclasses
import io
import smtplib
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import psycopg
import pymysql
import pytest

from ingest_pipelines_tests.servers import (
    azure,
    clickhouse,
    gcs,
    hive,
    mssql,
    mysql,
    oracle,
    redis,
    s3,
    smtp,
    snowflake,
)
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault
from ingest_pipelines_tests.servers.sftp import SftpServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

Proxied = Callable[[str, int], CutProxy]


def test_postgres_gives_every_test_an_empty_database(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        version = connection.info.server_version
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert version // 10000 == 18
    assert tables == (0,)


def test_postgres_refuses_a_wrong_password(database_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database_url, password="wrong")


def _sftp(server: SftpServer, **login: object) -> paramiko.SFTPClient:
    client = paramiko.SSHClient()
    kind, key = server.host_key.split()[:2]
    known = paramiko.Ed25519Key(data=base64.b64decode(key))
    client.get_host_keys().add(f"[{server.host}]:{server.port}", kind, known)
    client.connect(server.host, server.port, server.username, allow_agent=False, look_for_keys=False, **login)  # type: ignore[arg-type]
    return client.open_sftp()


def test_sftp_serves_a_file_to_the_holder_of_the_key(sftp_server: SftpServer, sftp_folder: Path) -> None:
    (sftp_folder / "Customers.csv").write_text("CID\n1\n")
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(sftp_server.private_key))
    with _sftp(sftp_server, pkey=key) as client, client.open(f"{sftp_folder}/Customers.csv") as file:
        assert file.read() == b"CID\n1\n"


def test_sftp_takes_the_password_and_no_other(sftp_server: SftpServer) -> None:
    if sftp_server.password is not None:  # only root can make an account that has one
        with _sftp(sftp_server, password=sftp_server.password) as client:
            client.listdir(sftp_server.root)
    with pytest.raises(paramiko.AuthenticationException):
        _sftp(sftp_server, password="wrong")


def test_the_proxy_passes_everything_until_it_cuts(database_url: str, cut_proxy: Proxied) -> None:
    info = psycopg.conninfo.conninfo_to_dict(database_url)
    proxy = cut_proxy("127.0.0.1", int(str(info["port"])))
    through = psycopg.conninfo.make_conninfo(database_url, port=str(proxy.port))
    million = "SELECT repeat('x', 100) FROM generate_series(1, 10000)"
    with psycopg.connect(through) as connection:
        assert len(connection.execute(million).fetchall()) == 10000
    proxy.break_with(Fault(cut_after_received=100_000))
    with psycopg.connect(through) as connection, pytest.raises(psycopg.OperationalError):
        connection.execute(million)
    assert proxy.cuts == 1
    proxy.break_with(Fault(refuse_first=1))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(through)
    psycopg.connect(through).close()
    proxy.break_with(Fault(silent=True))
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(through, connect_timeout=2)
    proxy.mend()
    with psycopg.connect(through) as connection:
        proxy.cut_all()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_the_proxy_passes_on_that_the_server_broke_off(cut_proxy: Proxied) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = cut_proxy("127.0.0.1", server.getsockname()[1])
        with socket.create_connection((proxy.host, proxy.port), timeout=30) as client:
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()  # as the kernel does for a process that is killed
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_postgres_15_is_what_it_says(database_15_url: str) -> None:
    with psycopg.connect(database_15_url) as connection:
        assert connection.info.server_version // 10000 == 15


def test_s3_serves_its_owner_and_refuses_outsiders(s3_bucket: s3.Bucket) -> None:
    s3_bucket.put("loyalty/Customers.csv", b"CID\n1\n")
    client, server = s3_bucket.server.client(), s3_bucket.server
    assert client.get_object(Bucket=s3_bucket.name, Key="loyalty/Customers.csv")["Body"].read() == b"CID\n1\n"
    forged = dataclasses.replace(server, secret_access_key="wrong")
    outsider = dataclasses.replace(
        server,
        access_key_id=server.outsider_access_key_id,
        secret_access_key=server.outsider_secret_access_key,
    )
    for stranger, code in ((forged, "SignatureDoesNotMatch"), (outsider, "AccessDenied")):
        with pytest.raises(client.exceptions.ClientError) as refusal:
            stranger.client().list_objects_v2(Bucket=s3_bucket.name)
        assert refusal.value.response["Error"]["Code"] == code


def test_azure_checks_keys_and_conditions(azure_container: azure.Container) -> None:
    from azure.core import MatchConditions
    from azure.core.exceptions import HttpResponseError

    azure_container.put("loyalty/Customers.csv", b"CID\n1\n")
    blob = azure_container.client.get_blob_client("loyalty/Customers.csv")
    etag = blob.get_blob_properties().etag
    azure_container.put("loyalty/Customers.csv", b"CID\n2\n")
    with pytest.raises(HttpResponseError) as refused:
        blob.delete_blob(etag=etag, match_condition=MatchConditions.IfNotModified)
    assert refused.value.status_code == 412
    stranger = dataclasses.replace(azure_container.server, account_key="d3JvbmcK").container(azure_container.name)
    with pytest.raises(HttpResponseError) as refused:
        stranger.get_container_properties()
    assert refused.value.status_code == 403


def test_gcs_serves_a_file_of_the_generation_asked_for(gcs_bucket: gcs.Bucket) -> None:
    gcs_bucket.put("loyalty/Customers.csv", b"CID\n1\n")
    bucket = gcs_bucket.server.client().bucket(gcs_bucket.name)
    blob = bucket.get_blob("loyalty/Customers.csv")
    assert blob.download_as_bytes(if_generation_match=blob.generation) == b"CID\n1\n"
    assert bucket.get_blob("nothing") is None


def test_mysql_answers_its_owner_and_refuses_others(mysql_database: mysql.MysqlDatabase) -> None:
    mysql_database.execute("CREATE TABLE customers (id bigint unsigned)", "INSERT INTO customers VALUES (1)")
    server = mysql_database.server
    for user, password in ((server.username, "wrong"), (server.reader_username, server.reader_password)):
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            pymysql.connect(
                host=server.host, port=server.port, user=user, password=password, database=mysql_database.name
            )


def test_clickhouse_streams_arrow_and_refuses_a_wrong_password(
    clickhouse_database: clickhouse.ClickhouseDatabase,
) -> None:
    from clickhouse_connect.driver.exceptions import DatabaseError

    clickhouse_database.execute(
        "CREATE TABLE customers (id UInt64, name Nullable(String)) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO customers SELECT number, if(number % 2 = 0, NULL, 'Zoë') FROM numbers(200000)",
    )
    client = clickhouse_database.server.client(clickhouse_database.name)
    client.insert("customers", [[1_000_000, "Ann"]], column_names=["id", "name"])
    with client.query_arrow_stream("SELECT * FROM customers WHERE id > {least:UInt64}", {"least": 9}) as batches:
        assert sum(batch.num_rows for batch in batches) == 199_991
    with pytest.raises(DatabaseError, match=r"(?i)code: 60\b"):
        client.query("SELECT * FROM nothing")
    with pytest.raises(DatabaseError, match="516"):
        dataclasses.replace(clickhouse_database.server, password="wrong").client()


def test_snowflake_hands_out_arrow_and_refuses_a_wrong_password(
    snowflake_database: snowflake.SnowflakeDatabase,
) -> None:
    from snowflake.connector.errors import DatabaseError

    snowflake_database.execute(
        "CREATE TABLE customers (id NUMBER(38, 0), spent NUMBER(12, 2))", "INSERT INTO customers VALUES (1, 2.50)"
    )
    with snowflake_database.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT * FROM customers")
        table = cursor.fetch_arrow_all(force_return_table=True)
    assert str(table["SPENT"].type) == "decimal128(12, 2)"
    forged = dataclasses.replace(snowflake_database.server, password="wrong")
    with pytest.raises(DatabaseError, match="Incorrect username or password"):
        snowflake.SnowflakeDatabase(forged, snowflake_database.name).connect()


def test_hive_speaks_its_protocol(hive_database: hive.HiveDatabase) -> None:
    from pyhive import hive as client

    hive_database.execute("CREATE TABLE customers (id bigint, name string)", "INSERT INTO customers VALUES (1, 'Zoë')")
    server = hive_database.server
    connection = client.connect(server.host, server.port, server.username, database=hive_database.name)
    cursor = connection.cursor()
    cursor.execute("SELECT * FROM customers")
    assert cursor.fetchall() == [(1, "Zoë")]
    connection.close()


def test_the_sql_server_stand_in_convinces_microsofts_driver(mssql_database: mssql.MssqlDatabase) -> None:
    import mssql_python

    mssql_database.execute(
        "CREATE TABLE customers (id bigint, name nvarchar(50), spent decimal(12, 2), born date, seen datetime2, "
        "vip bit)",
        "INSERT INTO customers SELECT i, concat('Zoë ', i), i * 0.25, '2001-12-31', '2026-01-01 01:02:03.123456', 1 "
        "FROM generate_series(1, 20000) AS g(i)",
        "INSERT INTO customers (id) VALUES (0)",
    )
    with closing(mssql_database.connect()) as connection:
        cursor = connection.execute("SELECT TOP 2 * FROM customers WHERE id >= ? ORDER BY id", 0)
        assert tuple(cursor.fetchall()[1]) == (
            1, "Zoë 1", Decimal("0.25"), date(2001, 12, 31), datetime(2026, 1, 1, 1, 2, 3, 123456), True,
        )  # fmt: skip
        assert connection.execute("SELECT * FROM customers").arrow().num_rows == 20_001
        with pytest.raises(mssql_python.Error, match="Invalid object name"):
            connection.execute("SELECT * FROM nothing")
    with pytest.raises(mssql_python.Error, match="Login failed"):
        mssql.MssqlDatabase(dataclasses.replace(mssql_database.server, password="x"), "master").connect()
    with pytest.raises(mssql_python.Error, match="Cannot open database"):
        mssql.MssqlDatabase(mssql_database.server, "nowhere").connect()


def test_the_oracle_stand_in_convinces_the_thin_driver(oracle_schema: oracle.OracleSchema) -> None:
    import oracledb
    import pyarrow

    with closing(oracle_schema.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE customers (id NUMBER(18), name VARCHAR2(60), spent NUMBER(12, 2), born DATE, seen TIMESTAMP, "
            "score BINARY_DOUBLE)"
        )
        seen = "TIMESTAMP '2026-01-02 03:04:05.678901'"
        row = (1, "Zoë", Decimal("-12.34"), datetime(2001, 12, 31), 1.5)
        cursor.execute(f"INSERT INTO customers VALUES (:1, :2, :3, :4, {seen}, :5)", row)
        assert cursor.rowcount == 1
        cursor.executemany("INSERT INTO customers (id, spent) VALUES (:1, :2)", [(i, i * 0.25) for i in range(2, 101)])
        cursor.execute("INSERT INTO customers (id, spent) SELECT i, i / 4 FROM range(101, 3001) t(i)")
        cursor.execute("SELECT * FROM customers WHERE id = :id", id=1)
        assert cursor.fetchall() == [
            (1, "Zoë", -12.34, datetime(2001, 12, 31), datetime(2026, 1, 2, 3, 4, 5, 678901), 1.5)
        ]
        assert len(cursor.execute("SELECT * FROM customers ORDER BY id").fetchall()) == 3000
        table = pyarrow.table(connection.fetch_df_all("SELECT id, spent FROM customers", fetch_decimals=True))
        assert table.num_rows == 3000
        assert str(table["SPENT"].type) == "decimal128(12, 2)"
        cursor.execute("SELECT table_name FROM all_tables WHERE owner = :1", [oracle_schema.username])
        assert cursor.fetchall() == [("CUSTOMERS",)]
        with pytest.raises(oracledb.DatabaseError, match="ORA-00942"):
            cursor.execute("SELECT * FROM nothing")
    with pytest.raises(oracledb.DatabaseError, match="ORA-01017"):
        dataclasses.replace(oracle_schema, password="wrong").connect()
    elsewhere = dataclasses.replace(oracle_schema.server, service="NOWHERE")
    with pytest.raises(oracledb.OperationalError, match=r"DPY-6001|ORA-12514"):
        dataclasses.replace(oracle_schema, server=elsewhere).connect()


def test_redis_keeps_what_those_with_the_password_put(redis_server: redis.RedisServer) -> None:
    from redis import Redis
    from redis.exceptions import AuthenticationError

    with Redis.from_url(redis_server.url(15)) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"
    with (
        Redis.from_url(dataclasses.replace(redis_server, password="wrong").url()) as client,
        pytest.raises(AuthenticationError),
    ):
        client.ping()


def test_smtp_takes_letters_from_those_who_log_in(smtp_server: smtp.SmtpServer) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "ingest@example.com", "crm@example.com", "Überfällig"
    letter.set_content("late")
    smtp_server.refuse["gone@example.com"] = "550 no such user"
    with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
        with pytest.raises(smtplib.SMTPException):
            client.send_message(letter)
        client.starttls(context=ssl.create_default_context(cafile=str(smtp_server.ca_file)))
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(smtp_server.username, "wrong")
        client.login(smtp_server.username, smtp_server.password)
        client.send_message(letter)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("ingest@example.com", ["gone@example.com"], "late")
    assert [received["Subject"] for received in smtp_server.letters] == ["Überfällig"]


def test_the_browser_runs_a_page(page: Page) -> None:
    page.set_content("<h1>?</h1><script>document.querySelector('h1').textContent = 1 + 1</script>")
    assert page.inner_text("h1") == "2"
    assert page.screenshot().startswith(b"\x89PNG")
