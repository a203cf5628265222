"""The notebooks that show results, cell by cell on made-up ones: whole, in parts, without faces."""

import json
from pathlib import Path

import IPython.display
import made_up
import matplotlib.pyplot as plt
import pytest

from replication import jobs, profiles

NOTEBOOKS = Path(__file__).resolve().parents[3] / "notebooks"
NAMES = ("05_table_1", "06_trade_off", "08_covariance", "09_readings", "10_attributes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results: evening with three of its twenty seeds, faces and chairs; of night one seed."""
    made, count = tmp_path_factory.mktemp("results"), 3
    for profile, seeds in (("evening", count), ("night", 1)):
        plan = [(s, its[:seeds]) for s, its in profiles.plan(profile)]
        made_up.write(made / profile, profile, plan)
    return made


def cells(name: str) -> list[dict]:
    return json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))["cells"]


def run(name: str, monkeypatch, **parameters) -> str:
    """Run a notebook's code cells here, with these parameters; all that it puts out as text."""
    put_out = []
    for word in ("Markdown", "Image"):
        keep = lambda *args, **kwargs: put_out.append(kwargs.get("alt") or str(args[0]))  # noqa: E731
        monkeypatch.setattr(IPython.display, word, keep)
    monkeypatch.setattr(IPython.display, "display", lambda *things: None)
    names = {"display": lambda *things: None}
    names["print"] = lambda *words: put_out.append(" ".join(map(str, words)))
    for cell in cells(name):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{name} {cell['id']}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                assert parameters.keys() <= names.keys()
                names |= parameters
    plt.close("all")
    return "\n".join(put_out)


TOLD = {
    "05_table_1": (
        "- rule: Z-diff above the VAE's; error not above 1.25 times the VAE's",
        "- Z-diff (%), DIP-VAE-I (10) minus VAE: 0.0 (0.0 to 0.0, n = 3)",
        "more than 25 % of the runs ignore their latents (KL below 0.1 nats)",
        "no number of seeds in sight), at 1,000 steps",
        "undecided (fewer than five seeds, or none that differ)",
    ),
    "09_readings": (
        "**After 10,000 steps instead of 1,000** (night profile", "50.0; change 0.0 (one seed)",
        "running covariance: memory 0.0 -> 0.9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_in_parts_leaves_all_that_is_listed(name, folder, tmp_path, monkeypatch):
    kept, evening = tmp_path / "figures", str(folder / "evening")
    said = run(name, monkeypatch, profile="evening", results_dir=evening, figures_dir=str(kept))
    assert {path.name for path in kept.iterdir()} == set(jobs.OUTPUTS[name])
    assert "63 of its 211 runs so far" in said or name == "10_attributes"
    assert [text for text in TOLD.get(name, ()) if text not in said] == []


@pytest.mark.parametrize("name", ["08_covariance", "09_readings", "10_attributes"])
def test_a_profile_without_faces_leaves_the_rest(name, folder, tmp_path, monkeypatch):
    kept, night = tmp_path / "figures", str(folder / "night")
    kept.mkdir()
    said = run(name, monkeypatch, profile="night", results_dir=night, figures_dir=str(kept))
    faces = ("celeba", "longer", "table_2", "attributes")
    rest = {o for o in jobs.OUTPUTS[name] if not any(word in o for word in faces)}
    assert {path.name for path in kept.iterdir()} == rest
    assert "6 of its 18 runs so far" in said or name == "10_attributes"
    if name == "09_readings":
        assert "No results of a longer training of the night profile's models" in said


@pytest.mark.parametrize("profile", profiles.PROFILES)
def test_notebook_00_lists_every_profile(profile, monkeypatch):
    said = run("00_start_here", monkeypatch, profile=profile)
    assert f"* {profile}: {profiles.PROFILES[profile].purpose}" in said
    assert said.count("left out here:") == len(profiles.PROFILES[profile].parts)
