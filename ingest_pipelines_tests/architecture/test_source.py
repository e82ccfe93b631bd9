"""Who reads the environment, who writes data, and how large a module may grow."""

from __future__ import annotations

import ast
import re
import warnings
from collections import defaultdict

from ingest_pipelines_tests.architecture.source import modules

WRITES = re.compile(
    r"^\s*(INSERT\s+INTO|UPDATE\s+\S+\s+(AS\s+\S+\s+)?SET|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE|COPY\s|"
    r"ALTER\s+TABLE|DROP\s+TABLE|CREATE\s+((TEMP|TEMPORARY|UNLOGGED)\s+)?TABLE)\b",
    re.IGNORECASE,
)
OWN_TABLE = re.compile(
    r"(INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE|COPY|TABLE)\s+(ingest\.|ingest_(stage|matches|written|consents)\b)",
    re.IGNORECASE,
)
PREFLIGHT = "ingest_pipelines.merge.preflight."
STEPS = {f"merge/{step}.py" for step in ("write_steps", "deletions", "healing", "late_key", "refused_rows")}
"""What executes statements that write target data: the steps of a load's one transaction."""


def test_only_config_reads_the_environment() -> None:
    """What a run depends on is in one place, `Settings`, and tests need no environment."""
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        if not module.name.startswith("config/")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"}
    ]
    assert found == []


def test_only_the_merge_and_the_ledger_hold_statements_that_write() -> None:
    """A second writer would be a second place where rows, rejects and cursor can part."""
    found = [
        f"{module.name}:{line}"
        for module in modules()
        if not module.name.startswith(("merge/", "ledger/"))
        for line, text in module.strings()
        if WRITES.match(text)
    ]
    assert found == []


def test_the_ledger_writes_its_own_tables_only() -> None:
    """The books are never the place where a profile changes."""
    found = [
        f"{module.name}:{line}"
        for module in modules()
        if module.name.startswith("ledger/")
        for line, text in module.strings()
        if WRITES.match(text) and not OWN_TABLE.search(text)
    ]
    assert found == []


def test_only_apply_uses_what_writes_target_data() -> None:
    """Only the steps of a load execute such statements, and only `apply` and the early load call them: one transaction.

    Exempt: `ingest purge`, which ends the retention of old values in the history's own table.
    """
    writers = {
        f"{module.dotted}.{definition.name}"
        for module in modules()
        if module.name.startswith("merge/") and module.name not in STEPS
        for definition in module.tree.body
        if isinstance(definition, ast.FunctionDef | ast.ClassDef)
        for _, text in module.strings(definition)
        if WRITES.match(text) and not OWN_TABLE.search(text) and not text.lstrip().upper().startswith("COPY")
    }
    builders = {writer.rpartition(".")[0] for writer in writers}
    found = [
        f"{module.name}:{line} {name}"
        for module in modules()
        if module.name not in STEPS
        for line, name in module.imports()
        if name in writers | builders
        and (module.name, name) != ("cli/purging.py", "ingest_pipelines.merge.history.purge_history")
        and not (module.name.startswith("merge/preflight/") and name.startswith(PREFLIGHT))  # it prints statements
    ]
    assert writers, "the statements moved; this test looks in the wrong place"
    assert found == []
    callers = {
        module.name
        for module in modules()
        for _, name in module.imports()
        if module.name not in STEPS
        and name.startswith(tuple(f"ingest_pipelines.{step.removesuffix('.py').replace('/', '.')}." for step in STEPS))
    }
    assert callers == {"merge/load_transaction.py", "merge/early_load.py"}


def test_only_owner_only_creates_files() -> None:
    """A file that holds rows, a log or a secret is never created with the modes that a umask allows.

    Exempt: what writes a project, which a team shares, the demo's deliveries, and answers to a sender, which has to
    read them: they get the modes of the folder.
    """
    project = {
        "actions/checking.py", "cli/checking.py", "cli/dbt_sources.py", "cli/scaffold.py", "cli/showing.py",
        "component.py", "demo/generate.py", "sources/csv_directory.py",
    }  # fmt: skip
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        if module.name not in {*project, "owner_only.py"}
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _creates_a_file(node)
    ]
    assert found == []


def _creates_a_file(call: ast.Call) -> bool:
    """Whether it opens a path to write, or hands a path to what creates a file there."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "open":
        modes = [str(value.value) for value in call.args if isinstance(value, ast.Constant)]
        return any(set(mode) <= set("wax+bt") and set(mode) & set("wax") for mode in modes)
    if name in {"write_ipc", "new_file", "copyfile"}:
        return not any(isinstance(value, ast.Call) for value in call.args)  # it writes into `private_file(path)`
    return name in {"write_text", "write_bytes", "touch", "NamedTemporaryFile"}


def test_no_module_outgrows_one_idea() -> None:
    """Above 400 lines there may be an `and` in what a module does: a warning, never a reason to cut an idea in two."""
    long = {module.name: lines for module in modules() if (lines := module.text.count("\n")) > 400}
    if long:
        warnings.warn(f"modules of over 400 lines: {long}", stacklevel=1)
    assert max(module.text.count("\n") for module in modules()) <= 800


def test_no_two_classes_have_one_name() -> None:
    """A class name in a trace or a search leads to one place; only each engine of a source has its own `_Session`."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name != "_Session":
                homes[node.name].append(module.name)
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    """`utils` is where an idea goes that nobody named."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "handlers"}
    found = [module.name for module in modules() if vague & set(re.split(r"[/_]", module.name.removesuffix(".py")))]
    assert found == []
