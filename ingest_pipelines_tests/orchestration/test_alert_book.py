"""Which message goes to whom and when: whatever fails, ends, grows, or is not accepted. Pure, against a small model."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.notify import SEVERITIES, AlertKind, NotifyGroup
from ingest_pipelines.orchestration.alerts.alert_book import AlertBook
from ingest_pipelines.orchestration.alerts.alert_messages import Message
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.recipients import Recipient, recipients_of_group

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
EVERY: frozenset[AlertKind] = frozenset(SEVERITIES)
ANN, BOB = (Recipient(name, Secret(env="HOME"), EVERY, EVERY) for name in ("ANN", "BOB"))


def failure(name: str, *items: str, **more: str) -> Condition:
    reason = more.pop("reason", f"{len(items)} windows failed")
    return Condition(name, "failed", "it failed", reason=reason, items=items, broken=len(items), **more)  # type: ignore[arg-type]


class Post:
    """A book, and everything that its recipients got."""

    def __init__(self, *recipients: Recipient) -> None:
        self.book, self.recipients, self.now = AlertBook(), recipients or (ANN,), START
        self.environment = ""
        self.got: list[Message] = []

    def look(self, *conditions: Condition, minutes: float = 1, accepts: bool = True) -> list[str]:
        """A look at what is wrong. Returns the titles of the messages that were accepted."""
        self.now += timedelta(minutes=minutes)
        self.book = AlertBook.of(self.book.records())  # as another process reads it
        self.book.update(conditions, self.now, lambda entry: False)
        titles = []
        for message in self.due():
            if accepts:
                self.book.sent(message, self.now)
                self.got.append(message)
                titles.append(message.title)
        self.book.close(lambda name, imports: self.recipients, self.now)
        return titles

    def due(self) -> list[Message]:
        return self.book.messages(lambda name, imports: self.recipients, self.now, "http://ui", {}, self.environment)


def windows(count: int) -> list[str]:
    return [f"2026-{day // 28 + 1:02}-{day % 28 + 1:02}" for day in range(count)]


def test_sixty_windows_that_fail_one_after_another_are_a_few_messages_that_count_them() -> None:
    post, keys = Post(), windows(60)
    titles = [title for minute in range(60) for title in post.look(failure("points", *keys[: minute + 1]))]
    assert titles == [f"failed: points: {count} windows failed" for count in (1, 11, 31)]
    for _ in range(240):
        titles += post.look(failure("points", *keys))
    assert titles[3:] == ["failed: points: 60 windows failed"], "the last one knows of all"
    assert [message.ended for message in post.got] == [False] * 4
    assert post.look() == ["recovered: points: had failed from 2026-11-22 09:01 to 2026-11-22 14:01 UTC"]
    assert post.look() == []


def test_items_that_fail_again_after_a_retry_are_no_news() -> None:
    post = Post()
    assert len(post.look(failure("points", "a", "b"))) == 1
    for _ in range(50):
        assert post.look(failure("points", "a")) == []
        assert post.look(failure("points", "b", "a")) == []
    assert len(post.look(failure("points", "c"))) == 1, "another one is"


def test_what_fails_and_recovers_by_turns_is_not_a_message_a_minute() -> None:
    post = Post()
    for _ in range(60):
        post.look(failure("points", "a"))
        post.look()
    assert len(post.got) <= 2 * (120 // 10 + 1)
    assert Counter(message.ended for message in post.got)[False] >= 5, "and it is not kept back either"


def test_one_cause_that_hits_many_imports_is_one_message_that_lists_them() -> None:
    names = tuple(f"feed_{number:02}" for number in range(13))
    down = Condition("", "source", "it hangs", reason="hangs at login", cause="connection vendor", imports=names)
    post = Post(ANN, BOB)
    failures = [failure(name, "a", reason="the vendor does not answer", group="connection vendor") for name in names]
    assert post.look(down, *failures) == ["source: connection vendor: 13 imports"] * 2
    body = post.got[0].body
    assert "connection vendor: source: hangs at login" in body
    assert "feed_08: failed: the vendor does not answer" in body
    assert "and 4 more: ingest status" in body
    assert post.look() == ["recovered: connection vendor: 13 imports"] * 2


def test_imports_that_fail_for_one_reason_are_one_message_and_many_reasons_are_one_list() -> None:
    post = Post()
    assert post.look(*(failure(name, "a", reason="the disk is full") for name in "abc")) == [
        "failed: 3 imports: the disk is full"
    ]
    others = [failure(name, "a", reason=f"reason {name}") for name in "defghijkl"]
    assert post.look(*(failure(name, "a", reason="the disk is full") for name in "abc"), *others) == [
        "failed: 9 imports"
    ]
    assert "  d: failed: reason d" in post.got[-1].body


def test_a_connection_alone_names_its_only_import() -> None:
    post = Post()
    post.environment = "prod"
    one = Condition(
        "", "source", "it refuses", reason="refuses at list", cause="connection vendor", imports=("points",)
    )
    assert post.look(one) == ["[prod] source: points: refuses at list"]
    two = Condition("", "config", "x", reason="databases.yaml:3: a.b", cause="databases.yaml", imports=("a", "b"))
    assert post.look(one, two) == ["[prod] config: databases.yaml: databases.yaml:3: a.b; 2 imports"]


@pytest.mark.parametrize("kind", SEVERITIES)
def test_the_severity_is_that_of_the_kind_and_an_end_is_a_success(kind: AlertKind) -> None:
    post = Post()
    post.look(Condition("points", kind, "it is so", reason="so", items=("a",)))
    post.look()
    assert [message.severity for message in post.got] == [SEVERITIES[kind], "success"][: len(post.got)]
    assert len(post.got) == (1 if kind in {"rejected", "volume", "columns"} else 2)


def test_a_problem_that_nobody_could_be_told_of_in_time_is_told_or_its_end_is() -> None:
    rejects = Condition("points", "rejected", "some rows", reason="3 of 5 rows rejected")
    post = Post()
    assert post.look(rejects, failure("orders", "a"), accepts=False) == []
    assert post.look(accepts=False) == []
    assert sorted(post.look()) == [
        "recovered: orders: had failed from 2026-11-22 09:01 to 2026-11-22 09:02 UTC",
        "rejected: points: 3 of 5 rows rejected",
    ]
    assert post.look() == []


def test_a_group_gets_what_is_as_severe_as_it_asks_for() -> None:
    to = {"to": [{"env": "HOME"}]}
    [pager] = recipients_of_group(NotifyGroup.model_validate({**to, "severity": "failure"}))
    assert pager.kinds == pager.recoveries == {"failed", "source", "config", "stuck"}
    [team] = recipients_of_group(NotifyGroup.model_validate({**to, "on": ["late", "failed"]}))
    assert team.kinds == {"late", "failed"}
    assert not team.recoveries


LOOKS = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(["points", "orders"]), st.sets(st.sampled_from("abcd"), min_size=1), max_size=2
        ),
        st.sets(st.sampled_from(["ANN", "BOB"])),
        st.sampled_from([1, 9, 30, 120]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(LOOKS)
def test_whatever_happens_nobody_misses_a_failure_or_is_told_the_same_twice(
    looks: list[tuple[dict[str, set[str]], set[str], int]],
) -> None:
    """What a recipient believes at the end is what is so, and no two messages of one alert say the same."""
    post = Post(ANN, BOB)
    believed: dict[tuple[str, str], str | None] = {}
    for failing, working, minutes in [*looks, ({}, {"ANN", "BOB"}, 120), ({}, {"ANN", "BOB"}, 120)]:
        post.now += timedelta(minutes=minutes)
        conditions = [failure(name, *sorted(items)) for name, items in failing.items()]
        post.book.update(conditions, post.now, lambda entry: False)
        for message in post.due():
            if message.recipient.name not in working:
                continue
            for (name, _, _), _ in message.places:
                before = believed.get((message.recipient.name, name))
                assert not (message.ended and before == "recovered"), "an end is told once"
                assert not message.ended or name not in failing, "nothing has recovered that is broken"
                assert message.ended or name in failing
                believed[message.recipient.name, name] = "recovered" if message.ended else "failed"
            post.book.sent(message, post.now)
        for message in post.due():
            assert message.recipient.name not in working, "what was accepted is not due again"
        post.book.close(lambda name, imports: post.recipients, post.now)
        for name in failing:
            for recipient in working:
                entry = next(entry for entry in post.book.entries if entry.import_name == name)
                told = entry.told.get(recipient)
                assert told is not None, "told, or kept back after a recovery that was told a moment ago"
                assert told.at or (told.ended and post.now - told.ended < timedelta(minutes=10))
    assert "failed" not in believed.values()
