"""From runs/ to results/: what can be shown, no photograph, and nothing lost."""

import dataclasses
import io
import os

import numpy as np
import pytest
from PIL import Image
from whole import write_whole_result

from replication import jobs, profiles, publish, results


def test_a_published_sheet_of_celeba_holds_no_photograph(tmp_path):
    pixels = np.arange(3 * 64 * 128 * 3, dtype=np.uint8).reshape(192, 128, 3)
    Image.fromarray(pixels).save(tmp_path / "sheet.png")
    made = np.asarray(Image.open(io.BytesIO(publish.without_photographs(tmp_path / "sheet.png"))))
    assert (made[:64] == 255).all() and (made[64:] == pixels[64:]).all()


def test_publish_copies_what_can_be_shown_and_loses_nothing(tmp_path, monkeypatch):
    smoke = dataclasses.replace(profiles.PROFILES["smoke"], shown_from=1)
    monkeypatch.setitem(profiles.PROFILES, "smoke", smoke)
    source, target = tmp_path / "runs" / "smoke", tmp_path / "results" / "smoke"
    for settings, seeds in profiles.plan("smoke"):
        for seed in seeds:
            write_whole_result(source, settings, seed)
    count = len(list(source.glob("*.json")))
    assert f"{count} of {count} results copied" in publish.publish("smoke", source, target)
    assert all((target / path.name).read_bytes() == path.read_bytes() for path in source.iterdir())
    further = profiles.plan("smoke", data="shapes2d")[-1][0]
    lost = results.path_of(source, further, 0)
    lost.unlink()
    words = rf"1 results in .*results/smoke are not in .*runs/smoke \({lost.name}\)"
    with pytest.raises(jobs.Stop, match=words):
        publish.publish("smoke", source, target)
    assert len(list(target.glob("*.json"))) == count
    (target / lost.name).unlink()
    own = results.path_of(target, profiles.plan("smoke")[0][0], 7)  # of a seed beyond the plan's
    own.write_text("mine")
    with pytest.raises(jobs.Stop, match=rf"1 results in .*{own.name}\)"):
        publish.publish("smoke", source, target)
    os.replace(own, source / own.name)
    assert "(1 more in " in publish.publish("smoke", source, target)
    (source / own.name).unlink()
    assert f"{count - 1} of {count} results copied" in publish.publish("smoke", source, target)
