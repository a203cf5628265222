"""Fixtures of the tests of what is shown."""

import json

import made_up
import pytest

from replication import profiles, results
from replication.show import published, summary


@pytest.fixture(autouse=True)
def unverified(tmp_path, monkeypatch):
    """Published values as nobody has checked them, whatever the project's own file says by now."""
    document = json.loads(published.PATH.read_text("utf-8"))
    saps = (0.0417, 0.0811, 0.5503, 0.1889, 0.2188, 0.5253, 0.35, 0.48, 3.72, 3.69, 2.94, 3.93)
    for row, sap in zip(document["table_1"], saps, strict=True):
        row |= {"verified": False, "sap": sap}
    for row in document["table_2"]["rows"]:
        row["verified"] = False
    monkeypatch.setattr(published, "PATH", tmp_path / "published.json")
    results.write_json(published.PATH, document)


@pytest.fixture
def shown(tmp_path) -> summary.ProfileResults:
    """The smoke profile's results on 2D Shapes, read from files; those of the other data sets lie
    beside them.
    """
    folder = tmp_path / "results"
    made_up.write(folder, "smoke", profiles.plan("smoke", made_up.SEEDS))
    return summary.load("smoke", str(folder), str(tmp_path / "figures"), made_up.SEEDS)
