"""Deliveries, exports, edits and replays in any order: the table and the open rejects are what a model says.

The model shares no code with the product: rows are lists of text, a load is a number, a reject is a load and a line.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ingest_pipelines_tests.cli.terminal import Terminal

COLUMNS = ["line", "ingest.load", "codes", "reasons\rhere", "'=sum"]
"""Key, note, points, and two columns that fill no field."""
OURS = ["ingest.load", "ingest.line", "ingest.check", "ingest.codes", "ingest.reasons"]
KEYS = ["a", "b", "c", "d", "'e", "-f", ""]
NOTES = ["", "plain", "two\r\nlines", "one\rline", "a\nb", "=1+1", "'+x", "nu\0l", "\u2400", "\u241b\u2400", "b\x0bell"]
POINTS = ["", "1", "-2", "+3", "x", "1.5", "=9"]
ODD = ["", "\r", "\n", "\r\n", "\u0085", "\u2028", "\x0c", "\0", "@", 'q"q', ",", "\ufeff"]

PICTURES = {"\0": "\u2400", "\u2400": "\u241b\u2400", "\u241b": "\u241b\u241b"}
"""How a person writes what no CSV tool shows."""

CELLS = st.tuples(*map(st.sampled_from, (KEYS, NOTES, POINTS, ODD, ODD))).map(list)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def codes_of(rows: list[list[str]]) -> list[set[str]]:
    """The rules that each row of an item breaks."""
    times = Counter(key for key, *_ in rows if key)
    return [
        {"missing_key" for _ in [0] if not key}
        | {"duplicate_key" for _ in [0] if times[key] > 1}
        | {"unsupported_character" for _ in [0] if re.search(r"[\0\x0b\x0c\x85]", note)}
        | {"bad_int" for _ in [0] if points and not re.fullmatch(r"[+-]?[0-9]+", points)}
        for key, note, points, *_ in rows
    ]


def written(rows: list[list[str]], end: str) -> tuple[bytes, list[int]]:
    """The rows as a file of quoted cells, and the line on which each starts."""
    text, lines = "", []
    for row in rows:
        lines.append(1 + len(re.findall(r"\r\n|\r|\n", text)))
        text += ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + end
    return text.encode(), lines


@dataclass
class Model:
    """What is true."""

    table: dict[str, tuple[str | None, int | None]] = field(default_factory=dict)
    open: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    def load(self, rows: list[list[str]]) -> list[set[str]]:
        """An item's good rows are in the table; the codes of each row."""
        codes = codes_of(rows)
        for row, broken in zip(rows, codes, strict=True):
            if not broken:
                self.table[row[0]] = (row[1] or None, int(row[2]) if row[2] else None)
        return codes


@dataclass(frozen=True)
class Exported:
    """A file of rejects: its rows as they stand in it, and which rejects they are."""

    header: list[str]
    rows: list[tuple[tuple[int, int], list[str]]]


class Replays(RuleBasedStateMachine):
    """Whatever people do with the rejects of one import."""

    project: ClassVar[Terminal]

    @initialize()
    def begin(self) -> None:
        """An import and a table of this history's own."""
        self.name = f"h{uuid4().hex[:12]}"
        self.model = Model()
        self.files: list[Exported] = []
        self.folder = self.project.folder
        columns: dict[str, Any] = {
            "line": "customer_id",
            "ingest.load": {"field": "note", "type": "string"},
            "codes": {"field": "points", "type": "int"},
        }
        database = {"table": f"crm.{self.name}", "key": "customer_id", "fields": {"customer_id": {"type": "string"}}}
        databases = yaml.safe_load((self.folder / "databases.yaml").read_text())
        databases["databases"][self.name] = database
        (self.folder / "databases.yaml").write_text(yaml.safe_dump(databases))
        spec = {
            "status": "active", "database": self.name, "source": {"connection": "uploads"}, "columns": columns,
            "rejects": {"unlimited": True}, "shrink": {"min_percent": 0},
        }  # fmt: skip
        (self.folder / "imports" / f"{self.name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))

    def ingest(self, *words: object) -> Any:
        answer = self.project.ingest(*words)
        assert answer.code == 0, answer.err
        return answer

    @rule(rows=st.lists(CELLS, min_size=1, max_size=7), end=ENDS)
    def deliver(self, rows: list[list[str]], end: str) -> None:
        content, lines = written([COLUMNS, *rows], end)
        (self.folder / "delivery.csv").write_bytes(content)
        [load] = self.ingest("run", self.name, "--file", "delivery.csv", "--json").json
        codes = self.model.load(rows)
        for line, row, broken in zip(lines[1:], rows, codes, strict=True):
            if broken:
                self.model.open[load["load"], line] = row
        assert load["rejected"] == sum(map(bool, codes))
        self.agree()

    @precondition(lambda self: self.model.open)
    @rule(data=st.data())
    def export(self, data: st.DataObject) -> None:
        loads = sorted({load for load, _ in self.model.open})
        chosen = data.draw(st.sampled_from([None, *loads]))
        words = [] if chosen is None else ["--load", chosen]
        self.ingest("rejects", "export", self.name, *words, "--output", "exported.csv")
        with (self.folder / "exported.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file))
        places = [header.index(name) for name in OURS[:2]]
        named = [((int(row[places[0]]), int(row[places[1]])), row) for row in rows]
        wanted = [place for place in sorted(self.model.open) if place[0] == (chosen or loads[-1])]
        assert [place for place, _ in named] == wanted
        self.files.append(Exported(header, named))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), end=ENDS, bom=st.booleans())
    def correct_and_replay(self, data: st.DataObject, end: str, bom: bool) -> None:
        """A person's tool saves some of the rows in some order, some of them corrected; perhaps of two exports."""
        chosen = data.draw(st.lists(st.sampled_from(self.files), min_size=1, max_size=2, unique_by=id))
        header = chosen[0].header
        pool = {place: row for file in chosen if file.header == header for place, row in file.rows}
        places = data.draw(st.lists(st.sampled_from(sorted(pool)), unique=True, max_size=len(pool)))
        at = [header.index(name) for name in ("line", "'ingest.load", "codes")]
        saved, given = [], []
        for place in places:
            row, cells = list(pool[place]), list(self.rows[place])
            for number, choices in enumerate((KEYS, NOTES, POINTS)):
                if data.draw(st.booleans()):
                    cells[number] = data.draw(st.sampled_from(choices))
                    row[at[number]] = "".join(PICTURES.get(letter, letter) for letter in cells[number])
                    if row[at[number]].startswith(("=", "+", "-", "'")):
                        row[at[number]] = f"'{row[at[number]]}"
            saved.append(row)
            given.append((place, cells))
        content, lines = written([header, *saved], end)
        (self.folder / "saved.csv").write_bytes((b"\xef\xbb\xbf" if bom else b"") + content)
        self.replay(lines[1:], given)
        for _ in range(data.draw(st.integers(0, 1))):  # the same file once more
            self.replay(lines[1:], given)

    def replay(self, lines: list[int], given: list[tuple[tuple[int, int], list[str]]]) -> None:
        answer = self.ingest("rejects", "replay", self.name, "saved.csv", "--json")
        waiting = [(line, place, cells) for line, (place, cells) in zip(lines, given, strict=True)
                   if place in self.model.open]  # fmt: skip
        if not waiting:
            assert answer.json == []
            assert "nothing to replay" in answer.err
            self.agree()
            return
        [load] = answer.json
        codes = self.model.load([cells for _, _, cells in waiting])
        wrong = {line: broken for (line, _, _), broken in zip(waiting, codes, strict=True) if broken}
        for (_, place, _), broken in zip(waiting, codes, strict=True):
            if not broken:
                del self.model.open[place]
        assert (load["read"], load["rejected"], load["resolved"]) == (
            len(waiting), len(wrong), len(waiting) - len(wrong),
        )  # fmt: skip
        listed = self.ingest("rejects", "list", self.name, "--load", load["load"], "--json").json
        found: dict[int, set[str]] = {}
        for reject in listed:
            found.setdefault(reject["line"], set()).add(reject["code"])
            assert reject["resolved_at"], "it is open in one place, the load that rejected it first"
        assert found == wrong, "by the line in the file that the person has"
        self.agree()

    @property
    def rows(self) -> dict[tuple[int, int], list[str]]:
        """Every rejected row as it was delivered."""
        return self._seen

    def agree(self) -> None:
        """Table and ledger are what the model says."""
        self._seen = {**getattr(self, "_seen", {}), **self.model.open}
        with psycopg.connect(self.project.environment["INGEST_DATABASE_URL"]) as connection:
            table = connection.execute(f"SELECT customer_id, note, points FROM crm.{self.name}".encode()).fetchall()
            waiting = connection.execute(
                "SELECT DISTINCT r.load, r.line FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load"
                " WHERE l.import = %s AND r.resolved_at IS NULL", (self.name,)
            ).fetchall()  # fmt: skip
        assert {key: (note, points) for key, note, points in table} == self.model.table
        assert sorted(waiting) == sorted(self.model.open)


@pytest.mark.parametrize(
    ("part", "histories"), [(1, 2), *(pytest.param(part, 10, marks=pytest.mark.slow) for part in range(2, 5))]
)
def test_any_history_of_replays_agrees_with_the_model(starter: Terminal, part: int, histories: int) -> None:
    run_state_machine_as_test(
        type("Replays", (Replays,), {"project": starter}),
        settings=settings(
            max_examples=histories, stateful_step_count=6 if part == 1 else 12, print_blob=True, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
        ),
    )  # fmt: skip
