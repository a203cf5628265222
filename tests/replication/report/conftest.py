"""The report of a tiny profile, made once for the tests of this folder."""

from pathlib import Path

import pytest
from reported import make_report


@pytest.fixture(scope="session")
def made(data_dir, tmp_path_factory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"), data_dir)
