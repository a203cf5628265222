"""The paper's claims, and one question of our own: each with its rule, fixed before the runs.

A rule is a list of conditions, each a difference that is above 0 where the condition holds. It is
taken seed by seed (runs of one seed share weights, order and noise); its mean has a 95 % interval
over seeds (Student's t). All intervals above 0: reproduced; one below 0: not reproduced; else
undecided. No correction is made for asking several questions. A model of which more than a quarter
of the runs ignore their latents decides nothing: it was not trained long enough to speak for its
objective. Otherwise every seed counts; but claim 5 takes each point of the curves as it is, by the
seeds that all points have, and claim 8 the runs with two latents in use. LOG.md says what had been
seen when the rules were written.
"""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.settings import Settings
from replication import profiles
from replication.show import summary, tables, wording
from replication.show.statistics import Interval, interval, variance_ratio
from replication.show.summary import ProfileResults, by_seed, paired, per_run

CLOSE_ERROR = 1.25  # "about the same reconstruction error": at most a quarter more
CLOSE_SAP = 0.05  # "about the same SAP": at most this much less
CLOSE_ZDIFF = 2.0  # "as high a Z-diff": at most so many points less
CLOSE_ACCURACY = 0.5  # "at least as well": at most so many points less
CURVE_POINTS = 4  # of each curve of Figure 1, at least, where curves are compared
DECORRELATED = 0.5  # "near 0": at most half of the VAE's mean |correlation|
CLOSE_TO_NONE = 0.1  # no rule's: a mean |correlation| of the VAE's that leaves little to lower
UNTRAINED_SHARE = 0.25  # of a model's runs that may ignore their latents
READINGS = ("", "running covariance")  # that rules look at; "": the paper's own settings
ERRORS = 200  # reconstruction errors, evenly spaced on a log scale, at which curves are compared

VAE, _, BETA_60, I_10, II_5, II_500 = (settings.label for settings in profiles.table_1())
ERROR = "reconstruction_error"
NAMES = summary.METRICS | {"correlation": "mean |correlation|"}


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


# --- what the tests are made of ---


def is_untrained(runs: pd.DataFrame) -> bool:
    """Whether too many runs of a model ignore their latents for it to decide anything."""
    return (runs["kl"] < summary.COLLAPSED_BELOW).mean() > UNTRAINED_SHARE


def scores(shown: ProfileResults, label: str, metric: str) -> pd.Series:
    """One score of a model, by seed. NotDecidable where it is not run or ignores its latents."""
    own = [run for run in shown.runs if Settings(**run["settings"]).label == label]
    if not own:
        raise NotDecidable(f"{label} has not been run here")
    runs = per_run(dataclasses.replace(shown, results=own))
    if is_untrained(runs):
        raise NotDecidable(f"{label} ignores its latents")
    return by_seed(runs, label, metric).dropna()


def difference(
    shown: ProfileResults, metric: str, a: str, b: str, plus: float = 0.0, times: float = 1.0
) -> Condition:
    """The score of a * times - that of b + plus."""
    scaled = f"{times:g} times " if times != 1 else ""
    added = f", {'plus' if plus > 0 else 'minus'} {abs(plus):g}" if plus else ""
    name, (a_said, b_said) = NAMES.get(metric, metric), map(wording.brief, (a, b))
    text = f"{name}, {scaled}{a_said} minus {b_said}{added}"
    values = paired(scores(shown, a, metric) * times, scores(shown, b, metric)) + plus
    return Condition(text, values, metric)


def decorrelated(shown: ProfileResults, label: str) -> Condition:
    """A model's mean |correlation| held against the VAE's; both have to have two latents in use."""
    few = [(scores(shown, model, "active") < 2).mean() for model in (VAE, label)]
    if max(few) > UNTRAINED_SHARE:
        raise NotDecidable(f"the VAE or {label} has fewer than two latents in use")
    return difference(shown, "correlation", VAE, label, times=DECORRELATED)


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
    runs = per_run(shown)
    planned = {s.label for s, _ in profiles.plan(shown.profile, data=shown.data) if not s.reading}
    if planned - set(runs["label"]):
        raise NotDecidable("points of Figure 1 have not been run")
    if (least := runs.groupby("objective")["label"].nunique().min()) < CURVE_POINTS:
        points = f"{least} point{'s' if least > 1 else ''}"
        raise NotDecidable(f"a curve of Figure 1 has {points}; {CURVE_POINTS} are needed")
    errors = np.geomspace(runs[ERROR].min(), runs[ERROR].max(), ERRORS)
    seeds = [s for s, group in runs.groupby("seed") if set(group["label"]) == set(runs["label"])]
    chosen = runs[runs["seed"].isin(seeds)].groupby(["objective", "seed"])
    found = {key: best_sap_within(group, errors) for key, group in chosen}
    return {
        objective: pd.Series({s: found[objective, s] for s in seeds})
        for objective in ("beta-vae", "dip-vae-i", "dip-vae-ii")
    }


def best_trade_off(shown: ProfileResults) -> list[Condition]:
    curves, text = trade_offs(shown), "best SAP within an error, II minus"
    return [
        Condition(f"{text} {name}", paired(curves["dip-vae-ii"], curves[other]), "sap")
        for other, name in (("dip-vae-i", "I"), ("beta-vae", "beta-VAE"))
    ]


def predicts_attributes(shown: ProfileResults) -> list[Condition]:
    """On CelebA, or what stands in for it; no model of Table 2 may ignore its latents."""
    models = [settings.label for settings in tables.table_2_models(shown)]
    for label in models:
        scores(shown, label, "kl")
    vae, beta_2, _, beta_8, i_2, ii_1 = models
    asked = [(a, b, CLOSE_ACCURACY) for a in (i_2, ii_1) for b in (vae, beta_2)]
    return [
        difference(shown, metric, a, b, plus)
        for metric in ("accuracy", "balanced accuracy")
        for a, b, plus in [*asked, (beta_2, beta_8, 0.0)]
    ]


CLAIMS = (
    Claim("DIP-VAE-I (10) has a higher Z-diff than the VAE at about its reconstruction error",
          f"Z-diff above the VAE's; error not above {CLOSE_ERROR:g} times the VAE's",
          lambda shown: [difference(shown, "zdiff", I_10, VAE),
                         difference(shown, ERROR, VAE, I_10, times=CLOSE_ERROR)]),
    Claim("beta-VAE's SAP rises with beta only as its reconstruction error rises",
          "from beta 1 to 60 both rise",
          lambda shown: [difference(shown, "sap", BETA_60, VAE),
                         difference(shown, ERROR, BETA_60, VAE)]),
    Claim("DIP-VAE-II (500) reaches about the SAP of beta-VAE (60) with a lower reconstruction "
          "error",
          f"SAP not more than {CLOSE_SAP:g} below; error below",
          lambda shown: [difference(shown, "sap", II_500, BETA_60, plus=CLOSE_SAP),
                         difference(shown, ERROR, BETA_60, II_500)]),
    Claim("SAP and Z-diff rank models differently: DIP-VAE-I (10) has beta-VAE (60)'s Z-diff and "
          "less SAP",
          f"Z-diff not more than {CLOSE_ZDIFF:g} points below; SAP more than {CLOSE_SAP:g} below",
          lambda shown: [difference(shown, "zdiff", I_10, BETA_60, plus=CLOSE_ZDIFF),
                         difference(shown, "sap", BETA_60, I_10, plus=-CLOSE_SAP)]),
    Claim("DIP-VAE-II has the best trade-off of SAP against reconstruction",
          "the best SAP within a reconstruction error, averaged over the errors (log scale), above "
          f"DIP-VAE-I's and beta-VAE's; each curve has at least {CURVE_POINTS} points",
          best_trade_off),
    Claim("The minibatch's covariance is enough: a running estimate brings no gain",
          f"SAP with a running covariance not more than {CLOSE_SAP:g} above, of I (10) and II (5)",
          lambda shown: [difference(shown, "sap", x, f"{x}, running covariance", plus=CLOSE_SAP)
                         for x in (I_10, II_5)]),
    Claim("On CelebA, attributes are predicted from DIP-VAE's latents at least as well as from the "
          "VAE's or beta-VAE's, and worse as beta grows",
          "mean accuracy over all attributes, plain and balanced, of I (2) and II (1) not more "
          f"than {CLOSE_ACCURACY:g} points below the VAE's and beta 2's; beta 8's below beta 2's",
          predicts_attributes),
    Claim("DIP-VAE decorrelates the latents where the VAE does not",
          "mean |correlation| of the latents in use (two or more), of I (10) and II (5), below "
          f"{DECORRELATED:g} of the VAE's",
          lambda shown: [decorrelated(shown, x) for x in (I_10, II_5)]),
)  # fmt: skip
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
    still_open = [condition.found for condition in conditions if condition.found.sign == 0]
    # The first that falls below 0 decides; where none is on its way there, all have to rise above.
    falling = [found.seeds_to_decide() for found in still_open if found.mean < 0]
    needed = [found.seeds_to_decide() for found in still_open]
    if falling:
        needed = [min(filter(None, falling), default=None)]
    if None in needed:
        return "undecided (no number of seeds in sight)"
    return f"undecided (about {max(needed)} seeds would decide it)"


def decide(claim: Claim, shown: ProfileResults) -> dict:
    """Claim, rule, the differences obtained with their intervals, by how many seeds, verdict: a row
    of the table.
    """
    steps, seeds = shown.results[0]["settings"]["steps"], ""
    try:
        conditions = claim.test(shown)
        if not all(len(condition.values) for condition in conditions):
            raise NotDecidable("two models have no seed in common")
        obtained = "; ".join(f"{c.text}: {wording.from_to(c.found, c.metric)}" for c in conditions)
        found, counts = verdict(conditions), sorted({len(c.values) for c in conditions})
        seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    except NotDecidable as reason:
        obtained, found = "", f"undecided ({reason})"
    if claim.test is ON_FACES and shown.results[0]["data"]["source"] == "stand-in":
        found = f"needs CelebA (on {shown.data_name}: {found})"
    return {
        "claim": claim.text,
        "rule": claim.rule,
        "obtained: mean difference (95 % interval, seeds)": obtained,
        "seeds": seeds,
        "verdict": f"{found}, at {steps:,} steps",
    }


def verdicts(shown: ProfileResults, faces: ProfileResults | None = None) -> pd.DataFrame:
    """One row a claim. `faces`: the results on CelebA, or on what stands in for it."""
    rows = []
    for number, claim in enumerate(CLAIMS, 1):
        if part := faces if claim.test is ON_FACES else shown:
            rows.append(decide(claim, part) | {"claim": f"{number}. {claim.text}"})
    return pd.DataFrame(rows)


def asked_of(shown: ProfileResults) -> list[dict]:
    """The results that the rules on 2D Shapes look at."""
    return [r for r in shown.runs if r["settings"]["reading"] in READINGS]


def counting_every_latent(shown: ProfileResults) -> ProfileResults:
    """The same results with SAP's other reading: latents that are off are counted like others."""

    def read(result: dict) -> dict:
        metrics, sap = result["metrics"], result["metrics"]["sap"]
        every = sap and {"score": sap["score_with_inactive_below"].get("0.0", sap["score"])}
        return result | {"metrics": metrics | {"sap": every and sap | every}}

    ours, others = (list(map(read, its)) for its in (shown.results, shown.readings))
    return dataclasses.replace(shown, results=ours, readings=others)


def by_every_latent(shown: ProfileResults) -> dict[int, str]:
    """The verdicts on 2D Shapes that would be others if SAP counted latents that are off, by the
    number of the claim.
    """
    parts, changed = (shown, counting_every_latent(shown)), {}
    for number, claim in enumerate(CLAIMS, 1):
        if claim.test is not ON_FACES:
            rows = (decide(claim, part)["verdict"] for part in parts)
            was, now = (re.sub(r"( \(.*)?, at .*", "", verdict) for verdict in rows)
            changed |= {number: now} if was != now else {}
    return changed


def other_verdicts(shown: ProfileResults) -> str:
    """The same in a sentence."""
    changed = [f"claim {number} {verdict}" for number, verdict in by_every_latent(shown).items()]
    told = ", ".join(changed) or "all verdicts would stay"
    below = f"variance of mu below {INACTIVE_BELOW:g}"
    return f"If SAP counted latents that are off ({below}) as well: {told}."


def badly_chosen(shown: ProfileResults) -> str:
    """What the last claim's rule overlooked; rules stay as they were written."""
    vae = per_run(shown).groupby("label")["correlation"].mean()[VAE]
    if not vae < CLOSE_TO_NONE:
        return ""
    return (
        f"Claim {len(CLAIMS)}'s rule is badly chosen: the VAE's own mean |correlation| is "
        f"{vae:.2f}, next to nothing to lower."
    )


def interim(shown: ProfileResults) -> str:
    """That verdicts are looked at before all planned runs are there; empty where they are."""
    asked, plan = len(asked_of(shown)), profiles.plan(shown.profile, data=shown.data)
    planned = sum(len(seeds) for settings, seeds in plan if settings.reading in READINGS)
    if asked >= planned:
        return ""
    return (
        f"Looked at with {asked} of the {planned} runs that the rules ask for: any look may decide "
        "by luck, and a verdict change back."
    )


# --- our own question ---

LUCK = (
    "Is the outcome of DIP-VAE less a matter of luck than the VAE's? The variance of a score over "
    "seeds, over the VAE's: steadier where the whole 95 % interval (Bonett 2006, no normality "
    "assumed) lies below 1, less steady where it lies above. Low SAPs lie close together by "
    "themselves, so that their deviation is also given as a share of its mean."
)


def luck_of(shown: ProfileResults, label: str, metric: str) -> dict[str, str]:
    """Of one model and score: both deviations, the ratio of variances with its interval, answer."""
    row = dict.fromkeys(("deviation", "the VAE's", "ratio of variances"), "")
    try:
        a, b = scores(shown, label, metric), scores(shown, VAE, metric)
        ratio = variance_ratio(a.to_numpy(), b.to_numpy())
        if ratio is None:
            raise NotDecidable("fewer than five seeds, or none that differ")
    except NotDecidable as reason:
        return row | {"answer": f"undecided ({reason})"}
    answer = "steadier" if ratio.high < 1 else "less steady" if ratio.low > 1 else "undecided"
    deviations = (
        wording.number(x.std(), metric)
        + (f", {100 * x.std() / x.mean():.0f} % of the mean" if metric == "sap" else "")
        for x in (a, b)
    )
    found = f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f}, n = {min(ratio.n)})"
    return dict(zip(row, (*deviations, found))) | {"answer": answer}


def luck(shown: ProfileResults) -> pd.DataFrame:
    """For I (10), II (5) and II (500), SAP and Z-diff: the ratio of variances, interval, answer."""
    return pd.DataFrame([
        {"model": label, "score": NAMES[metric]} | luck_of(shown, label, metric)
        for label in (I_10, II_5, II_500) for metric in ("sap", "zdiff")
    ])  # fmt: skip
