# mypy: ignore-errors
# ruff: noqa
from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from ingest_pipelines_tests.guarantees.whole_way.histories import SEED, SETTINGS
from ingest_pipelines_tests.guarantees.whole_way.machine import WholeWay
from ingest_pipelines_tests.guarantees.whole_way.place import place_of


class Rights(WholeWay):
    @rule(setting=SETTINGS, seed=SEED)
    def a_person_acts(self, setting, seed):
        chance = random.Random(seed)
        name = chance.choice(self.history.imports)
        self.edit_the_yaml(name, setting)
        chance.choice([self.forget, self.forget, self.remember, self.write_elsewhere])(name, chance)
        self.agree()


@pytest.mark.timeout(0)
def test_zz(postgres_url, fleet, tmp_path):
    with place_of(tmp_path / "it", fleet, postgres_url) as place:
        run_state_machine_as_test(
            type("R", (Rights,), {"place": place}),
            settings=settings(
                max_examples=12,
                stateful_step_count=20,
                print_blob=True,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            ),
        )
