"""What a result file holds: types, shapes, ranges, and which of its numbers have to agree.

A form is said in words ("number from 0 to 1", "text like [0-9a-f]{64}"), as a dict of forms by name
("*": any name), or as [form, length] of a list; its length is a number, or a word that stands for
one and the same length wherever it occurs.
"""

import re
from types import NoneType

import numpy as np

from dipvae_src.settings import Settings, check_settings
from replication.profiles import keeps_pictures, leaves_codes

FORMAT = 3
LARGEST = 1e12  # nothing that a run measures comes near it
COUNT, POSITIVE, SHARE, PERCENT, KL = (
    "whole number from 1", "number from 0", "number from 0 to 1", "number from 0 to 100",
    "number from -1e-6",  # 0 but for rounding
)  # fmt: skip
FLAG, SHA256 = "true or false", "text like [0-9a-f]{64}"
CODE = dict.fromkeys(("training", "scoring"), "text like [0-9a-f]{16}")
RESULT = {
    "format": COUNT, "profile": "text", "settings": "named values", "seed": "whole number from 0",
    "code": CODE, "versions": {"*": "text"}, "device": "text", "threads": COUNT,
    "minutes": POSITIVE,
    "data": {"name": "text", "source": "text like official|rendered|stand-in", "identity": SHA256},
    "losses": [
        {"step": COUNT, "reconstruction": "number", "kl": "number", "penalty": "number"}, "points",
    ],
}  # fmt: skip
STACKED = {"engine": "text", "stack": "named values"}  # of a run trained beside others
RULERS = {  # of codes that were measured by rulers.py too, and by which version of it
    "code": "text like [0-9a-f]{16}", "mig": SHARE, "factor_vae": SHARE, "disentanglement": SHARE,
    "completeness": SHARE, "informativeness": SHARE,
}  # fmt: skip
METRICS = {
    "images": COUNT, "reconstruction_error": POSITIVE, "kl": KL, "kl_per_latent": [KL, "latents"],
    "other_errors": {"absolute": POSITIVE, "sampled": POSITIVE},
    "covariance_of_means": [["number", "latents"], "latents"],
    "mean_variance": [POSITIVE, "latents"],
}  # fmt: skip
SCORES = {
    "sap": {
        "score": SHARE, "matrix": [[SHARE, "factors"], "latents"], "gaps": [SHARE, "factors"],
        "factors": ["text", "factors"], "discrete": [FLAG, "factors"], "images": COUNT,
        "inactive_below": POSITIVE, "score_with_inactive_below": {"*": SHARE},
        "score_of_halves": [SHARE, 2],
    },
    "zdiff": {
        "accuracy": PERCENT, "accuracy_again": PERCENT, "chance": PERCENT, "balanced": FLAG,
        "pairs": COUNT, "train": COUNT, "test": COUNT, "seed": "whole number from 0",
    },
}  # fmt: skip
TRAVERSALS = {  # of a sheet that traversal_score.py measured; score: null where all is off
    "code": "text like [0-9a-f]{16}", "score": SHARE, "change": [SHARE, "rows"],
    "share": [SHARE, "rows"],
}  # fmt: skip
ATTRIBUTES = {
    "names": ["text", "factors"], "train_images": COUNT, "test_images": COUNT,
    "single_latent": ["whole number from 0", "factors"], "accuracy": [PERCENT, "factors"],
    "balanced": [PERCENT, "factors"], "majority": [PERCENT, "factors"],
    "single_accuracy": [PERCENT, "factors"], "single_balanced": [PERCENT, "factors"],
}  # fmt: skip
KINDS = {
    "whole": (int,), "number": (int, float), "text": (str,), "true": (bool,), "null": (NoneType,),
    "named": (dict,), "list": (list,),
}  # fmt: skip


class BadResult(ValueError):
    """A file that is not whole, not what its name says, or of other code or data than others."""


def check(value: object, form: object, field: str, sizes: dict[str, int]) -> None:
    """BadResult naming the field where `value` is not of `form`; `sizes`: known lengths by word."""
    words = "named values" if isinstance(form, dict) else "list" if isinstance(form, list) else form
    if not fits(value, words):
        text, article = repr(value), "" if words.split()[0] in ("true", "null", "named") else "a "
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise BadResult(f"`{field}` is {shown}, not {article}{words}")
    if isinstance(form, dict):
        forms = dict.fromkeys(value, form["*"]) if "*" in form else form
        if odd := sorted(forms.keys() ^ value.keys()):
            lacks = odd[0] in forms
            raise BadResult(f"`{field}` {'lacks' if lacks else 'has an unknown'} `{odd[0]}`")
        for name, inner in forms.items():
            check(value[name], inner, f"{field}.{name}", sizes)
    elif isinstance(form, list):
        inner, length = form
        wanted = sizes.setdefault(length, len(value)) if isinstance(length, str) else length
        if len(value) != wanted or not value:
            raise BadResult(f"`{field}` has {len(value)} entries, not {wanted or 'one or more'}")
        for i, entry in enumerate(value):
            check(entry, inner, f"{field}[{i}]", sizes)


def fits(value: object, words: str) -> bool:
    """Whether a value is what the words say; a number is finite, a text not empty."""
    kind = words.split()[0]
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "true"):
        return False
    if kind == "text":
        return re.fullmatch(words.partition(" like ")[2] or ".+", value, re.DOTALL) is not None
    if kind in ("whole", "number"):
        low, _, high = words.partition(" from ")[2].partition(" to ")
        return float(low or -LARGEST) <= value <= float(high or LARGEST)
    return True


def check_result(result: object, stem: str) -> None:
    """BadResult naming the field where a result is not whole or not of the run named `stem`."""
    check(result, "named values", "result", {})
    check(result.get("settings"), "named values", "result.settings", {})
    try:
        settings = check_settings(Settings(**result["settings"]))
    except (TypeError, ValueError) as error:
        raise BadResult(f"`result.settings` are not those of a run: {error}") from error
    metrics = METRICS | (SCORES if settings.data != "chairs" else dict.fromkeys(SCORES, "null"))
    metrics |= {"attributes": ATTRIBUTES} if settings.data == "celeba" else {}
    metrics["unrounded"] = "null"
    form = RESULT | (STACKED if "stack" in result else {}) | {"metrics": metrics, "picture": "null"}
    if result.get("picture") is not None or keeps_pictures(settings, result.get("seed")):
        form["picture"] = {"file": f"text like {re.escape(stem)}[.]png", "sha256": SHA256}
    left = {"file": f"text like {re.escape(stem)}[.]codes[.]npz", "sha256": SHA256}
    form["codes"] = left if leaves_codes(settings) else "null"
    form |= {"rulers": RULERS} if "rulers" in result and leaves_codes(settings) else {}
    for field in ("readings", "all_images"):  # score_readings.py, measure.py
        if isinstance(result.get(field), dict) and leaves_codes(settings):
            form[field] = dict.fromkeys(result[field], PERCENT) | {"code": RULERS["code"]}
    if "traversals" in result and result.get("picture") and settings.data == "shapes2d":
        measured = result["traversals"]
        off = isinstance(measured, dict) and measured.get("score") is None
        form["traversals"] = TRAVERSALS | ({"score": "null"} if off else {})
    found = result.get("metrics")
    if leaves_codes(settings) and isinstance(found, dict) and found.get("unrounded") is not None:
        metrics["unrounded"] = {"sap": SHARE, "zdiff": PERCENT}  # null: scored again from codes
    check(result, form, "result", {"latents": settings.latents})
    if (run := f"{settings.name}_seed{result['seed']}") != stem:
        raise BadResult(f"it holds the run {run}, it was renamed or altered")
    for field, agrees, wanted in agreements(result, result["metrics"], settings):
        if not agrees:
            raise BadResult(f"`result.{field}` {wanted}")


def agreements(result: dict, metrics: dict, settings: Settings):
    """(field, whether it agrees with the rest, within rounding; what it is if it does not)."""

    def near(a, b) -> bool:
        return np.allclose(a, b, rtol=1e-5, atol=3e-6)

    steps, images = [point["step"] for point in result["losses"]], metrics["images"]
    rises = steps == sorted(set(steps)) and steps[-1] == settings.steps
    yield "losses", rises, f"does not rise to step {settings.steps:,}"
    yield "metrics.images", images <= settings.test_images, "is more than its settings ask for"
    summed = near(metrics["kl"], sum(metrics["kl_per_latent"]))
    yield "metrics.kl", summed, "is not the sum of `kl_per_latent`"
    covariance = np.array(metrics["covariance_of_means"])
    covariance = covariance / (covariance.max() or 1)
    symmetric = near(covariance, covariance.T) and covariance.diagonal().min() >= 0
    yield "metrics.covariance_of_means", symmetric, "is not symmetric with variances from 0"
    if settings.data == "chairs":
        return
    sap, zdiff, faces = metrics["sap"], metrics["zdiff"], settings.data == "celeba"
    top, names = np.sort(sap["matrix"], axis=0)[-2:], sap["factors"]
    yield "metrics.sap.gaps", near(sap["gaps"], top[1] - top[0]), "do not fit its `matrix`"
    yield "metrics.sap.score", near(sap["score"], np.mean(sap["gaps"])), "is not its `gaps`' mean"
    yield "metrics.sap.factors", len(set(names)) == len(names), "names a factor twice"
    yield "metrics.sap.images", sap["images"] == images, "is not the number of `images`"
    drawn = (settings.zdiff_train, settings.zdiff_test, faces)
    as_set = drawn == (zdiff["train"], zdiff["test"], zdiff["balanced"])
    yield "metrics.zdiff", as_set, "was not drawn as its settings say"
    yield "metrics.zdiff.chance", near(zdiff["chance"], 100 / len(names)), "is not 1 in all factors"
    if faces:
        table = metrics["attributes"]
        same = (table["names"], table["test_images"]) == (names, images)
        known = max(table["single_latent"]) < settings.latents
        yield "metrics.attributes", same and known, "are of other names, images or latents"
