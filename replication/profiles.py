"""What is run: the settings of one experiment, the profiles, and the explicit list of runs that each profile makes.

Nothing here trains. Change a number here and `make plan` shows what it costs.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace

from dipvae_src.settings import Settings, check_settings

# --- the settings of the paper ---


@dataclass(frozen=True)
class DataSet:
    """What the paper does on one of its data sets. Standing of each number: README; `open` ones are our choice."""

    title: str
    base: dict  # what it changes of the defaults of Settings
    lambda_d_i: float  # lambda_d over lambda_od for DIP-VAE-I
    lambda_d_ii: float  # and for DIP-VAE-II
    lambda_3: float  # of DIP-VAE-II
    rows: tuple[
        tuple[str, float], ...
    ]  # (objective, weight) of Table 1; for chairs, which has no table: of the traversals (open)


CONV = dict(network="conv", width=256, latents=32, batch_size=100, test_images=19_962)
DATA_SETS = {
    "shapes2d": DataSet(
        "2D Shapes", base={}, lambda_d_i=10, lambda_d_ii=1, lambda_3=200,
        rows=(("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 60), ("dip-vae-i", 10), ("dip-vae-ii", 5), ("dip-vae-ii", 500)),
    ),
    "celeba": DataSet(
        "CelebA", base=CONV, lambda_d_i=50, lambda_d_ii=0.5, lambda_3=0,
        rows=(("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 32), ("dip-vae-i", 2), ("dip-vae-ii", 1), ("dip-vae-ii", 80)),
    ),
    # lambda_d of DIP-VAE-II, batch, latents and rows are open in the paper; its networks' last kernels are 2x2.
    "chairs": DataSet(
        "3D Chairs", base=CONV | dict(network="conv-2x2", test_images=8_618), lambda_d_i=10, lambda_d_ii=1, lambda_3=0,
        rows=(("beta-vae", 1), ("beta-vae", 4), ("dip-vae-i", 2), ("dip-vae-ii", 1)),
    ),
}  # fmt: skip


def beta_vae(beta: float, data: str = "shapes2d", **common) -> Settings:
    return Settings("beta-vae", beta=float(beta), data=data, **DATA_SETS[data].base | common)


def dip_vae_i(lambda_od: float, data: str = "shapes2d", **common) -> Settings:
    """lambda_d follows from lambda_od by the data set's rule."""
    rules = DATA_SETS[data]
    weights = dict(lambda_od=float(lambda_od), lambda_d=float(rules.lambda_d_i * lambda_od))
    return Settings("dip-vae-i", **weights, data=data, **rules.base | common)


def dip_vae_ii(
    lambda_od: float, data: str = "shapes2d", lambda_3: float | None = None, **common
) -> Settings:
    """lambda_d follows from lambda_od by the data set's rule; lambda_3 is the data set's unless told."""
    rules = DATA_SETS[data]
    weights = dict(lambda_od=float(lambda_od), lambda_d=float(rules.lambda_d_ii * lambda_od))
    third = float(rules.lambda_3 if lambda_3 is None else lambda_3)
    return Settings("dip-vae-ii", **weights, lambda_3=third, data=data, **rules.base | common)


MAKE: dict[str, Callable[..., Settings]] = {
    "beta-vae": beta_vae,
    "dip-vae-i": dip_vae_i,
    "dip-vae-ii": dip_vae_ii,
}


def table_1(data: str = "shapes2d", **common) -> list[Settings]:
    """The rows of Table 1 on a data set, in the paper's order."""
    return [MAKE[objective](weight, data, **common) for objective, weight in DATA_SETS[data].rows]


# What the paper leaves open, read otherwise: a model of Table 1 with one thing changed.
READINGS: dict[str, Callable[[Settings], Settings]] = {
    "no third moments": lambda s: replace(s, lambda_3=0.0),
    "joint third moments": lambda s: replace(s, third_moments="joint"),
    "running covariance": lambda s: replace(s, memory=0.9),  # claim 6: is the minibatch's enough?
    "batch 64": lambda s: replace(s, batch_size=64),
    "half the steps": lambda s: replace(s, steps=s.steps // 2),
}


def read_otherwise(settings: Settings, reading: str) -> Settings:
    """`settings` with one of READINGS; ValueError for a reading that is not known or changes nothing there."""
    if reading not in READINGS:
        raise ValueError(f"unknown reading {reading!r}; known: {', '.join(READINGS)}")
    changed = READINGS[reading](settings)
    if changed == settings:
        raise ValueError(f"the reading {reading!r} changes nothing of {settings.label}")
    return check_settings(replace(changed, reading=reading))


# --- profiles ---


@dataclass(frozen=True)
class Part:
    """What a profile does on one data set."""

    common: dict  # what it changes of the data set's settings
    betas: tuple = ()  # of Figure 1 or 2 (and Table 2), beyond the rows of Table 1
    lambda_ods_i: tuple = ()
    lambda_ods_ii: tuple = ()
    readings: tuple[tuple[str, str, float], ...] = ()  # (reading, objective, weight)
    table_seeds: int = 1  # seeds of each row of Table 1
    curve_seeds: int = 1  # seeds of each further point of the figure
    reading_seeds: int = 1


@dataclass(frozen=True)
class Profile:
    """A named size of the whole replication."""

    purpose: str
    parts: dict[str, Part]  # by data set
    in_visits: bool = False  # too long for one sitting: 2D Shapes is shown from its first table on (summary.there)

    def left_out(self, data: str = "shapes2d", images: int | None = None) -> str:
        """What separates this profile from the paper's setting on a data set, for titles; empty for the full one.

        `images`: how many were scored, where that is known; a stand-in may hold out fewer than were asked for.
        """
        full = {field.name: field.default for field in dataclasses.fields(Settings)} | DATA_SETS[
            data
        ].base
        words = {
            "width": "width {0} for {1}", "filters": "{0} filters for {1}", "steps": "{0:,} steps for {1:,}",
            "batch_size": "batch {0} for {1}", "learning_rate": "learning rate {0:g} for {1:g}", "latents": "{0} latents for {1}",
            "test_images": "{0:,} test images for {1:,}", "zdiff_train": "{0:,} Z-diff vectors for {1:,}",
        }  # fmt: skip
        common = self.parts[data].common | ({} if images is None else {"test_images": images})
        return ", ".join(
            words[k].format(v, full[k]) for k, v in common.items() if k in words and v != full[k]
        )


II_OFTEN = ("dip-vae-ii", 5)
LAMBDAS = (1, 2, 5, 10, 20, 50, 80, 100, 500)
SMALL_CONV = dict(
    filters=4, width=32, latents=10, steps=30, batch_size=32, learning_rate=1e-3, test_images=200
)
QUICK_CONV = dict(filters=16, steps=700, learning_rate=1e-3, test_images=2_000)
PROFILES = {
    "smoke": Profile(
        purpose="shows that every line runs, its numbers mean nothing",
        parts={
            "shapes2d": Part(
                dict(width=32, steps=60, batch_size=64, learning_rate=1e-3, test_images=2_000, zdiff_train=500, zdiff_test=250),
                readings=tuple((reading, *II_OFTEN) for reading in READINGS if reading != "batch 64"),
            ),
            # As many images as it takes for each attribute to vary in each half of them.
            "celeba": Part(SMALL_CONV | dict(test_images=2_000, zdiff_train=500, zdiff_test=250), betas=(2, 8)),
            "chairs": Part(SMALL_CONV),
        },
    ),
    "quick": Profile(
        purpose="a first look on two cores; small networks, trained briefly",
        parts={
            "shapes2d": Part(
                dict(width=256, steps=1_000, learning_rate=1e-3, test_images=10_000),
                betas=(16,), lambda_ods_i=(100,), lambda_ods_ii=(50,),
                readings=(*((reading, *II_OFTEN) for reading in READINGS), ("running covariance", "dip-vae-i", 10)),
                table_seeds=3,
            ),
            "celeba": Part(QUICK_CONV, betas=(2, 8)),
            "chairs": Part(QUICK_CONV | dict(steps=500)),
        },
    ),
    "evening": Profile(
        purpose="hours on two cores; the quick networks, trained ten times as long, on all test images",
        parts={
            "shapes2d": Part(dict(width=256, steps=10_000, learning_rate=1e-3), table_seeds=3),
            "celeba": Part(dict(filters=16, steps=7_000, learning_rate=1e-3), betas=(2, 8)),
            "chairs": Part(dict(filters=16, steps=5_000, learning_rate=1e-3)),
        },
    ),
    "paper": Profile(
        purpose="the paper's networks and sweeps; needs a GPU",
        in_visits=True,
        parts={
            "shapes2d": Part(
                {},
                betas=(1, 4, 8, 16, 25, 32, 60, 64, 100, 128, 200, 256), lambda_ods_i=LAMBDAS, lambda_ods_ii=LAMBDAS,
                readings=(
                    *(("no third moments", "dip-vae-ii", weight) for weight in LAMBDAS),
                    *(("joint third moments", "dip-vae-ii", weight) for weight in (5, 500)),
                    *(("running covariance", *row) for row in (("dip-vae-i", 10), ("dip-vae-ii", 5), ("dip-vae-ii", 500))),
                    *((reading, *row) for reading in ("batch 64", "half the steps")
                      for row in (("beta-vae", 1), ("dip-vae-i", 10), ("dip-vae-ii", 5))),
                ),
                table_seeds=10, curve_seeds=3, reading_seeds=3,
            ),
            "celeba": Part(
                {}, betas=(2, 8, 16, 64), lambda_ods_i=(1, 5, 10, 20, 50), lambda_ods_ii=(5, 10, 20, 50), table_seeds=3, curve_seeds=3,
            ),
            "chairs": Part({}),
        },
    ),
}  # fmt: skip

MAX_SEEDS = 100


def profile(name: str) -> Profile:
    """The profile of that name; ValueError for any other."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; the profiles are {', '.join(PROFILES)}")
    return PROFILES[name]


def check_seeds(seeds: int | None) -> int | None:
    """`seeds` if it is None (as the profile says) or a whole number from 1 to MAX_SEEDS; ValueError otherwise."""
    if seeds is not None and (type(seeds) is not int or not 1 <= seeds <= MAX_SEEDS):
        raise ValueError(
            f"SEEDS must be a whole number from 1 to {MAX_SEEDS} (how many seeds a setting), not {seeds!r}"
        )
    return seeds


def experiment(
    profile_name: str, objective: str, weight: float, data: str = "shapes2d", reading: str = ""
) -> Settings:
    """The settings of one experiment of a profile. `weight` is beta or lambda_od; the other weights follow the paper's rules.

    Raises ValueError or TypeError naming what is wrong and what would be right.
    """
    chosen = profile(profile_name)
    for what, name, known in (("objective", objective, MAKE), ("data", data, DATA_SETS)):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}; known: {', '.join(known)}")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f"weight must be a number (beta or lambda_od), not {weight!r}")
    settings = check_settings(MAKE[objective](weight, data, **chosen.parts[data].common))
    return read_otherwise(settings, reading) if reading else settings


def plan(
    profile_name: str, seeds: int | None = None, data: str | None = None
) -> list[tuple[Settings, tuple[int, ...]]]:
    """Every experiment of a profile (on one data set, if told) with its seeds, most valuable first.

    On each data set: the rows of Table 1, the rest of its figure, the other readings. `seeds` replaces the profile's numbers.
    """
    chosen, seeds = profile(profile_name), check_seeds(seeds)
    if data not in (None, *DATA_SETS):
        raise ValueError(f"unknown data {data!r}; known: {', '.join(DATA_SETS)}")
    experiments = []
    for name, part in chosen.parts.items():
        if data not in (None, name):
            continue
        rows = table_1(name, **part.common)
        sweeps = (
            ("beta-vae", part.betas),
            ("dip-vae-i", part.lambda_ods_i),
            ("dip-vae-ii", part.lambda_ods_ii),
        )
        points = [
            experiment(profile_name, objective, weight, name)
            for objective, weights in sweeps
            for weight in weights
        ]
        others = [
            experiment(profile_name, objective, weight, name, reading)
            for reading, objective, weight in part.readings
        ]
        for group, count in (
            (rows, part.table_seeds), ([s for s in points if s not in rows], part.curve_seeds), (others, part.reading_seeds),
        ):  # fmt: skip
            experiments += [
                (check_settings(settings), tuple(range(seeds or count))) for settings in group
            ]
    return experiments


def keeps_pictures(settings: Settings, seed: int) -> bool:
    """Whether a run leaves traversals, latents and its decoder: the first seed of each row of Table 1."""
    return (
        seed == 0
        and not settings.reading
        and settings.name in {row.name for row in table_1(settings.data)}
    )
