"""The paper's claims, and one question of our own: each with its rule, fixed before the runs.

A rule is a list of conditions, each a difference that is above 0 where the condition holds. It is
taken seed by seed (runs of one seed share weights, order and noise); its mean has a 95 % interval
over seeds (Student's t). All intervals above 0: reproduced; one below 0: not reproduced; else
undecided. No correction is made for asking several questions. A model of which more than a quarter
of the runs ignore their latents decides nothing: it was not trained long enough to speak for its
objective. Otherwise every seed counts. LOG.md says what had been seen when the rules were written.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dipvae_src.settings import Settings
from replication import profiles
from replication.show import summary, tables
from replication.show.statistics import Interval, interval, variance_ratio
from replication.show.summary import ProfileResults, by_seed, paired

CLOSE_ERROR = 1.25  # "about the same reconstruction error": at most a quarter more
CLOSE_SAP = 0.05  # "about the same SAP": at most this much less
CLOSE_ZDIFF = 2.0  # "as high a Z-diff": at most so many points less
CLOSE_ACCURACY = 0.5  # "at least as well": at most so many points less
CURVE_POINTS = 4  # of each curve of Figure 1, at least, where curves are compared
DECORRELATED = 0.5  # "near 0": at most half of the VAE's mean |correlation|
UNTRAINED_SHARE = 0.25  # of a model's runs that may ignore their latents
ERRORS = 200  # reconstruction errors, evenly spaced on a log scale, at which curves are compared


@dataclass(frozen=True)
class Condition:
    """A difference that is above 0 where a claim holds: one value a seed."""

    text: str
    values: np.ndarray
    metric: str  # how its numbers are written

    @property
    def found(self) -> Interval:
        """Its mean over seeds with the interval."""
        return interval(self.values)


@dataclass(frozen=True)
class Claim:
    """A claim in words, its rule in words, and the test that gives its conditions.

    The test raises NotDecidable where the runs cannot speak about the claim.
    """

    text: str
    rule: str
    test: Callable[[ProfileResults], list[Condition]]


class NotDecidable(Exception):
    """Why these runs cannot decide a claim."""


class Rows:
    """Table 1's models on 2D Shapes, each by a short name, with their scores by seed."""

    NAMES = dict(
        zip(("VAE", "beta 4", "beta 60", "I (10)", "II (5)", "II (500)"), profiles.table_1())
    )

    def __init__(self, shown: ProfileResults) -> None:
        self.runs = summary.per_run(shown)
        self.others = summary.per_run(shown, readings=True)

    def of(self, name: str, metric: str, reading: str = "") -> pd.Series:
        """One score of a model, by seed. NotDecidable where it ignores its latents."""
        runs = self.others if reading else self.runs
        label = self.NAMES[name].label + (f", {reading}" if reading else "")
        kl = by_seed(runs, label, "kl")
        if not len(kl):
            raise NotDecidable(f"{label} is not run in this profile")
        if (kl < summary.COLLAPSED_BELOW).mean() > UNTRAINED_SHARE:
            raise NotDecidable(f"{label} ignores its latents")
        return by_seed(runs, label, metric)

    def difference(
        self, metric: str, a: str, b: str, plus: float = 0.0, times: float = 1.0
    ) -> Condition:
        """a * times - b + plus."""
        scaled = f" x {times:g}" if times != 1 else ""
        added = f" {'+' if plus > 0 else '-'} {abs(plus):g}" if plus else ""
        values = paired(self.of(a, metric) * times, self.of(b, metric)) + plus
        name = summary.METRICS.get(metric, metric)
        return Condition(f"{name} of {a}{scaled}{added} less that of {b}", values, metric)


# --- the tests ---

ERROR = "reconstruction_error"


def higher_zdiff(shown: ProfileResults) -> list[Condition]:
    rows = Rows(shown)
    return [
        rows.difference("zdiff", "I (10)", "VAE"),
        rows.difference(ERROR, "VAE", "I (10)", times=CLOSE_ERROR),
    ]


def sap_costs_error(shown: ProfileResults) -> list[Condition]:
    rows = Rows(shown)
    return [rows.difference("sap", "beta 60", "VAE"), rows.difference(ERROR, "beta 60", "VAE")]


def same_sap_less_error(shown: ProfileResults) -> list[Condition]:
    rows = Rows(shown)
    return [
        rows.difference("sap", "II (500)", "beta 60", plus=CLOSE_SAP),
        rows.difference(ERROR, "beta 60", "II (500)"),
    ]


def ranked_differently(shown: ProfileResults) -> list[Condition]:
    rows = Rows(shown)
    return [
        rows.difference("zdiff", "I (10)", "beta 60", plus=CLOSE_ZDIFF),
        rows.difference("sap", "beta 60", "I (10)", plus=-CLOSE_SAP),
    ]


def best_sap_within(runs: pd.DataFrame, errors: np.ndarray) -> float:
    """The mean over `errors` of the best SAP that any of `runs` has at that reconstruction error or
    less (0 where none has).
    """
    saps, own = runs["sap"].to_numpy(), runs[ERROR].to_numpy()
    return float(np.mean([max(saps[own <= error], default=0.0) for error in errors]))


def trade_offs(shown: ProfileResults) -> dict[str, pd.Series]:
    """best_sap_within of each objective, by seed (those that every point has), over the range of
    errors that any run has. NotDecidable where a curve of the profile is not all there, or short:
    the best of a curve grows with every point.
    """
    runs = summary.per_run(shown)
    planned = {s.label for s, _ in profiles.plan(shown.profile, data=shown.data) if not s.reading}
    if planned - set(runs["label"]):
        raise NotDecidable("the curves are not all there")
    if (least := runs.groupby("objective")["label"].nunique().min()) < CURVE_POINTS:
        raise NotDecidable(f"a curve has {least} of the {CURVE_POINTS} points that it takes")
    errors = np.geomspace(runs[ERROR].min(), runs[ERROR].max(), ERRORS)
    seeds = [s for s, group in runs.groupby("seed") if set(group["label"]) == set(runs["label"])]
    chosen = runs[runs["seed"].isin(seeds)].groupby(["objective", "seed"])
    found = {key: best_sap_within(group, errors) for key, group in chosen}
    return {
        o: pd.Series({s: found[o, s] for s in seeds})
        for o in ("beta-vae", "dip-vae-i", "dip-vae-ii")
    }


def best_trade_off(shown: ProfileResults) -> list[Condition]:
    curves, ours = trade_offs(shown), "dip-vae-ii"
    return [
        Condition(
            f"best SAP within an error, II less {name}", paired(curves[ours], curves[o]), "sap"
        )
        for o, name in (("dip-vae-i", "I"), ("beta-vae", "beta-VAE"))
    ]


def minibatch_enough(shown: ProfileResults) -> list[Condition]:
    rows, found = Rows(shown), []
    for name in ("I (10)", "II (5)"):
        ours, running = rows.of(name, "sap"), rows.of(name, "sap", "running covariance")
        text = f"SAP of {name} + {CLOSE_SAP:g} less that with a running covariance"
        found.append(Condition(text, paired(ours, running) + CLOSE_SAP, "sap"))
    return found


def predicts_attributes(shown: ProfileResults) -> list[Condition]:
    """On CelebA, or what stands in for it."""
    models = dict(
        zip(("VAE", "beta 2", "beta 4", "beta 8", "I (2)", "II (1)"), tables.table_2_models(shown))
    )

    def accuracy(name: str, kind: str) -> pd.Series:
        """The mean over attributes, by seed."""
        return pd.Series({
            r["seed"]: np.mean(r["metrics"]["attributes"][kind])
            for r in shown.results if Settings(**r["settings"]) == models[name]
        })  # fmt: skip

    runs = summary.per_run(shown)
    for settings in models.values():
        if (by_seed(runs, settings.label, "kl") < summary.COLLAPSED_BELOW).mean() > UNTRAINED_SHARE:
            raise NotDecidable(f"{settings.label} ignores its latents")
    asked = [(a, b, CLOSE_ACCURACY) for a in ("I (2)", "II (1)") for b in ("VAE", "beta 2")]
    return [
        Condition(f"{words} of {a}{f' + {plus:g}' if plus else ''} less that of {b}",
                  paired(accuracy(a, kind), accuracy(b, kind)) + plus, "zdiff")
        for kind, words in (("accuracy", "accuracy"), ("balanced", "balanced accuracy"))
        for a, b, plus in [*asked, ("beta 2", "beta 8", 0.0)]
    ]  # fmt: skip


def decorrelates(shown: ProfileResults) -> list[Condition]:
    rows, found = Rows(shown), []
    for name in ("I (10)", "II (5)"):
        used = [rows.of(model, "active") >= 2 for model in ("VAE", name)]
        if any((~enough).mean() > UNTRAINED_SHARE for enough in used):
            raise NotDecidable(f"the VAE or {name} has fewer than two latents in use")
        vae, dip = (rows.of(m, "correlation")[enough] for m, enough in zip(("VAE", name), used))
        text = f"mean |correlation| of the VAE x {DECORRELATED:g} less that of {name}"
        found.append(Condition(text, paired(vae * DECORRELATED, dip), "correlation"))
    return found


CLAIMS = (
    Claim(
        "DIP-VAE-I (10) has a higher Z-diff than the VAE at about its reconstruction error",
        f"Z-diff above the VAE's; error not above {CLOSE_ERROR:g} times the VAE's",
        higher_zdiff,
    ),
    Claim(
        "beta-VAE's SAP rises with beta only as its reconstruction error rises",
        "from beta 1 to 60 both rise",
        sap_costs_error,
    ),
    Claim(
        "DIP-VAE-II (500) reaches about the SAP of beta-VAE (60) with a lower reconstruction error",
        f"SAP not more than {CLOSE_SAP:g} below; error below",
        same_sap_less_error,
    ),
    Claim(
        "SAP and Z-diff rank models differently: DIP-VAE-I (10) has beta-VAE (60)'s Z-diff and "
        "less SAP",
        f"Z-diff not more than {CLOSE_ZDIFF:g} points below; SAP more than {CLOSE_SAP:g} below",
        ranked_differently,
    ),
    Claim(
        "DIP-VAE-II has the best trade-off of SAP against reconstruction",
        "the best SAP within a reconstruction error, averaged over the errors (log scale), above "
        f"DIP-VAE-I's and beta-VAE's; each curve has at least {CURVE_POINTS} points",
        best_trade_off,
    ),
    Claim(
        "The minibatch's covariance is enough: a running estimate brings no gain",
        f"SAP with a running covariance not more than {CLOSE_SAP:g} above, of I (10) and II (5)",
        minibatch_enough,
    ),
    Claim(
        "On CelebA, attributes are predicted from DIP-VAE's latents at least as well as from the "
        "VAE's or beta-VAE's, and worse as beta grows",
        "mean accuracy over all attributes, plain and balanced, of I (2) and II (1) not more than "
        f"{CLOSE_ACCURACY:g} points below the VAE's and beta 2's; beta 8's below beta 2's",
        predicts_attributes,
    ),
    Claim(
        "DIP-VAE decorrelates the latents where the VAE does not",
        "mean |correlation| of the latents in use (two or more), of I (10) and II (5), below "
        f"{DECORRELATED:g} of the VAE's",
        decorrelates,
    ),
)
ON_FACES = predicts_attributes


# --- verdicts ---


def verdict(conditions: list[Condition]) -> str:
    """All conditions taken together, in a word; where undecided, how many seeds would decide it."""
    signs = [condition.found.sign for condition in conditions]
    if -1 in signs:
        return "not reproduced"
    if 0 not in signs:
        return "reproduced"
    if any(condition.found.n < 2 for condition in conditions):
        return "undecided (one seed)"
    needed = [c.found.seeds_to_decide() for c, sign in zip(conditions, signs) if sign == 0]
    if None in needed:
        return "undecided (no number of seeds in sight)"
    return f"undecided (about {max(needed)} seeds would decide it)"


def decide(claim: Claim, shown: ProfileResults) -> dict:
    """Claim, rule, the differences obtained with their intervals, verdict: a row of the table."""
    steps = shown.results[0]["settings"]["steps"]
    try:
        conditions = claim.test(shown)
        if not all(len(condition.values) for condition in conditions):
            raise NotDecidable("two models have no seed in common")
        obtained = "; ".join(f"{c.text}: {summary.from_to(c.found, c.metric)}" for c in conditions)
        found = verdict(conditions)
    except NotDecidable as reason:
        obtained, found = "", f"undecided ({reason})"
    if claim.test is ON_FACES and shown.results[0]["data"]["source"] == "stand-in":
        found = f"needs CelebA (on {shown.data_name}: {found})"
    return {
        "claim": claim.text,
        "rule": claim.rule,
        "obtained: mean difference (95 % interval, seeds)": obtained,
        "verdict": f"{found}, at {steps:,} steps",
    }


def verdicts(shown: ProfileResults, faces: ProfileResults | None = None) -> pd.DataFrame:
    """One row a claim. `faces`: the results on CelebA, or on what stands in for it."""
    asked = ((claim, faces if claim.test is ON_FACES else shown) for claim in CLAIMS)
    return pd.DataFrame([decide(claim, part) for claim, part in asked if part])


# --- our own question ---


LUCK = (
    "Is the outcome of DIP-VAE less a matter of luck than the VAE's? The variance of a score over "
    "seeds, over the VAE's: steadier where the whole 95 % interval (Bonett 2006, no normality "
    "assumed) lies below 1, less steady where it lies above."
)


def luck(shown: ProfileResults) -> pd.DataFrame:
    """For I (10), II (5) and II (500), SAP and Z-diff: the ratio of variances, interval, answer."""
    rows, found = Rows(shown), []
    for name in ("I (10)", "II (5)", "II (500)"):
        for metric in ("sap", "zdiff"):
            row = {"model": rows.NAMES[name].label, "score": summary.METRICS[metric]}
            try:
                a, b = rows.of(name, metric), rows.of("VAE", metric)
                ratio = variance_ratio(a.to_numpy(), b.to_numpy())
                if ratio is None:
                    raise NotDecidable("fewer than five seeds, or none that differ")
            except NotDecidable as reason:
                unknown = dict.fromkeys(("deviation", "the VAE's", "ratio of variances"), "")
                found.append(row | unknown | {"answer": f"undecided ({reason})"})
                continue
            answer = (
                "steadier" if ratio.high < 1 else "less steady" if ratio.low > 1 else "undecided"
            )
            low_high = f"{ratio.low:.2f} to {ratio.high:.2f}, n = {min(ratio.n)}"
            found.append(row | {
                "deviation": summary.number(a.std(), metric),
                "the VAE's": summary.number(b.std(), metric),
                "ratio of variances": f"{ratio.ratio:.2f} ({low_high})", "answer": answer,
            })  # fmt: skip
    return pd.DataFrame(found)
