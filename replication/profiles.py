"""The plan: what the paper runs, the profiles (sizes of the replication), every run of each.

Nothing here trains. Change a number here and `make plan` shows what it costs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dipvae_src.settings import Settings, check_settings

# An objective and its weight (beta or lambda_od): a row of Table 1, a point of Figure 1.
Row = tuple[str, float]
Plan = list[tuple[Settings, tuple[int, ...]]]  # experiments with their seeds
Run = tuple[Settings, int]


# --- the settings of the paper ---


@dataclass(frozen=True)
class DataSet:
    """What the paper does on a data set, unchecked against its text; what is left open is ours."""

    title: str
    base: dict  # what it changes of the defaults of Settings
    lambda_d: dict[str, float]  # over lambda_od, by objective
    rows: tuple[Row, ...]  # of Table 1; of chairs, which has no table: of the traversals (open)


CONV = dict(network="conv", width=256, latents=32, batch_size=100, test_images=19_962)
DATA_SETS = {
    "shapes2d": DataSet(
        "2D Shapes", base={}, lambda_d={"dip-vae-i": 10, "dip-vae-ii": 1},
        rows=(
            ("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 60),
            ("dip-vae-i", 10), ("dip-vae-ii", 5), ("dip-vae-ii", 500),
        ),
    ),
    "celeba": DataSet(
        "CelebA", base=CONV, lambda_d={"dip-vae-i": 50, "dip-vae-ii": 0.5},
        rows=(
            ("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 32),
            ("dip-vae-i", 2), ("dip-vae-ii", 1), ("dip-vae-ii", 80),
        ),
    ),
    # Open: lambda_d of DIP-VAE-II, batch, latents, rows. The networks' last kernels are 2x2.
    "chairs": DataSet(
        "3D Chairs", base=CONV | dict(network="conv-2x2", test_images=8_618),
        lambda_d={"dip-vae-i": 10, "dip-vae-ii": 1},
        rows=(("beta-vae", 1), ("beta-vae", 4), ("dip-vae-i", 2), ("dip-vae-ii", 1)),
    ),
}  # fmt: skip


def setting(objective: str, weight: float, data: str = "shapes2d", **common) -> Settings:
    """The paper's setting of an objective on a data set, `common` changed; lambda_d by its rule.

    `weight` is beta or lambda_od. Raises ValueError or TypeError naming what is not known.
    """
    check_settings(Settings(objective, data=data))
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(f"weight must be a number (beta or lambda_od), not {weight!r}")
    rules, weights = DATA_SETS[data], {"beta": float(weight)}
    if objective != "beta-vae":
        weights = {
            "lambda_od": float(weight),
            "lambda_d": float(rules.lambda_d[objective] * weight),
        }
    return check_settings(Settings(objective, **weights, data=data, **rules.base | common))


def table_1(data: str = "shapes2d", **common) -> list[Settings]:
    """The rows of Table 1 on a data set, in the paper's order."""
    return [setting(*row, data, **common) for row in DATA_SETS[data].rows]


# What the paper leaves open, read otherwise: a model with one thing changed. DIP-VAE-II is read by
# Eq. 7 alone, which is certain; that on 2D Shapes it also penalises third moments, with weight 200,
# is recalled, and their form is open.
READINGS: dict[str, Callable[[Settings], Settings]] = {
    "third moments": lambda s: replace(s, lambda_3=200.0),
    "joint third moments": lambda s: replace(s, lambda_3=200.0, third_moments="joint"),
    "running covariance": lambda s: replace(s, memory=0.9),  # claim 6: is the minibatch's enough?
    "batch 64": lambda s: replace(s, batch_size=64),
    "half the steps": lambda s: replace(s, steps=s.steps // 2),
    "width 256": lambda s: replace(s, width=256),
    "6 latents": lambda s: replace(s, latents=6),  # as scores that others published have it
}


def read_otherwise(settings: Settings, reading: str) -> Settings:
    """`settings` by one of READINGS; ValueError for one that is unknown or changes nothing."""
    if reading not in READINGS:
        raise ValueError(f"unknown reading {reading!r}; known: {', '.join(READINGS)}")
    changed = READINGS[reading](settings)
    if changed == settings:
        raise ValueError(f"the reading {reading!r} changes nothing of {settings.label}")
    return check_settings(replace(changed, reading=reading))


# --- profiles ---


@dataclass(frozen=True)
class Group:
    """Some experiments with so many seeds: points of Figure 1 or 2, or models read otherwise."""

    points: tuple[Row, ...]
    seeds: int = 1
    reading: str = ""  # a key of READINGS


@dataclass(frozen=True)
class Part:
    """What a profile does on one data set: Table 1's rows, then its groups, most valuable first."""

    common: dict  # what it changes of the data set's settings
    seeds: int = 1  # of each row of Table 1
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A named size of the whole replication."""

    purpose: str
    parts: dict[str, Part]  # by data set
    # With so many seeds of all of Table 1's rows what is there is shown, counted; 0: only whole.
    shown_from: int = 0
    # The profile that this one repeats with more steps: shown beside it, not by itself.
    longer_than: str = ""

    def left_out(self, data: str = "shapes2d", images: int | None = None) -> str:
        """What separates it from the paper's setting on a data set, for titles; empty if nothing.

        `images`: how many were scored, if known (a stand-in may hold out fewer than asked).
        """
        full = setting("beta-vae", 1, data)
        ours = self.parts[data].common | ({} if images is None else {"test_images": images})
        found = []
        for name, words in SIZES.items():
            its = getattr(full, name)
            if ours.get(name, its) != its:
                found.append(words.format(ours[name], its))
        return ", ".join(found)


# How titles say that a profile has another size than the paper.
SIZES = {
    "width": "width {0} instead of {1}",
    "filters": "{0} filters instead of {1}",
    "steps": "{0:,} steps instead of {1:,}",
    "batch_size": "batch {0} instead of {1}",
    "learning_rate": "learning rate {0:g} instead of {1:g}",
    "latents": "{0} latents instead of {1}",
    "test_images": "{0:,} test images instead of {1:,}",
    "zdiff_train": "{0:,} Z-diff vectors instead of {1:,}",
}


def of(objective: str, *weights: float) -> tuple[Row, ...]:
    """Points of one curve."""
    return tuple((objective, weight) for weight in weights)


VAE, I_10, II_5, II_500 = (DATA_SETS["shapes2d"].rows[k] for k in (0, 3, 4, 5))
LAMBDAS = (1, 2, 5, 10, 20, 50, 80, 100, 500)
SMALL_SCORES = dict(test_images=2_000, zdiff_train=500, zdiff_test=250)
SMALL_CONV = dict(filters=4, width=32, latents=10, steps=30, batch_size=32, learning_rate=1e-3)
QUICK_CONV = dict(filters=16, steps=350, learning_rate=1e-3, test_images=2_000)
EVENING_CONV = dict(filters=16, steps=7_000, learning_rate=1e-3)
BRIEF = dict(learning_rate=1e-3, test_images=10_000)  # at the paper's width and batch
TABLE_2_BETAS = Group(of("beta-vae", 2, 8))  # beyond Table 1's
FURTHER_POINTS = of("beta-vae", 16) + of("dip-vae-i", 1, 100, 500) + of("dip-vae-ii", 1, 50)
SMOKE_READINGS = ("third moments", "joint third moments", "running covariance", "half the steps")
PAPER_POINTS = (  # of Figure 1, beyond Table 1's
    of("beta-vae", 8, 16, 25, 32, 64, 100, 128, 200, 256)
    + of("dip-vae-i", *(w for w in LAMBDAS if w != 10))
    + of("dip-vae-ii", *(w for w in LAMBDAS if w not in (5, 500)))
)
PAPER_POINTS_CELEBA = (
    of("beta-vae", 2, 8, 16, 64)
    + of("dip-vae-i", 1, 5, 10, 20, 50)
    + of("dip-vae-ii", 5, 10, 20, 50)
)
SMALL = "quick"  # where there is no GPU, and what is offered in place of a long one
PROFILES = {
    "smoke": Profile(
        "shows that every line runs, its numbers mean nothing",
        {
            "shapes2d": Part(
                SMALL_SCORES | dict(width=32, steps=60, batch_size=64, learning_rate=1e-3),
                groups=tuple(Group((II_5,), reading=reading) for reading in SMOKE_READINGS),
            ),
            # As many images as it takes for each attribute to vary in each half of them.
            "celeba": Part(SMALL_CONV | SMALL_SCORES, groups=(TABLE_2_BETAS,)),
            "chairs": Part(SMALL_CONV | dict(test_images=200)),
        },
    ),
    "quick": Profile(
        "a first look on two cores: the paper's network on 2D Shapes, trained for minutes",
        {
            "shapes2d": Part(BRIEF | dict(steps=200), seeds=3),
            "celeba": Part(QUICK_CONV, groups=(TABLE_2_BETAS,)),
            "chairs": Part(QUICK_CONV | dict(steps=250)),
        },
    ),
    "evening": Profile(
        "many seeds of the paper's network on 2D Shapes, trained briefly: what decides the claims",
        {
            "shapes2d": Part(
                BRIEF | dict(steps=1_000),
                seeds=20,
                groups=(
                    Group((II_5, II_500), seeds=10, reading="third moments"),
                    Group(FURTHER_POINTS, seeds=5),
                    Group((I_10, II_5), seeds=10, reading="running covariance"),
                    Group((VAE, I_10, II_5), seeds=5, reading="width 256"),
                    Group((I_10, II_5), seeds=3, reading="6 latents"),
                ),
            ),
            "celeba": Part(EVENING_CONV, groups=(TABLE_2_BETAS,)),
            "chairs": Part(EVENING_CONV | dict(steps=5_000)),
        },
        shown_from=3,
    ),
    "night": Profile(
        "the evening's first seeds, trained ten times as long: what length does",
        {"shapes2d": Part(BRIEF | dict(steps=10_000), seeds=3)},
        shown_from=1,
        longer_than="evening",
    ),
    "paper": Profile(
        "the paper's networks and sweeps; needs a GPU",
        {
            "shapes2d": Part(
                {},
                seeds=10,
                groups=(
                    Group(PAPER_POINTS, seeds=3),
                    Group(of("dip-vae-ii", *LAMBDAS), seeds=3, reading="third moments"),
                    Group((II_5, II_500), seeds=3, reading="joint third moments"),
                    Group((I_10, II_5, II_500), seeds=3, reading="running covariance"),
                    Group((VAE, I_10, II_5), seeds=3, reading="batch 64"),
                    Group((VAE, I_10, II_5), seeds=3, reading="half the steps"),
                ),
            ),
            "celeba": Part({}, seeds=3, groups=(Group(PAPER_POINTS_CELEBA, seeds=3),)),
            "chairs": Part({}),
        },
        shown_from=10,
    ),
}
MAX_SEEDS = 100
CODED_IMAGES = 10_000  # 2D Shapes runs that are scored on at most so many publish their codes


def profile(name: str) -> Profile:
    """The profile of that name; ValueError for any other."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; the profiles are {', '.join(PROFILES)}")
    return PROFILES[name]


def check_seeds(seeds: int | str | None) -> int | None:
    """`seeds` if None (as the profile says) or a whole number from 1 to MAX_SEEDS; else ValueError.

    A text of digits is a number too.
    """
    number = int(seeds) if str(seeds).isdecimal() else seeds
    if number is not None and (type(number) is not int or not 1 <= number <= MAX_SEEDS):
        right = f"a whole number from 1 to {MAX_SEEDS} (how many seeds a setting)"
        raise ValueError(f"SEEDS must be {right}, not {seeds!r}")
    return number


def experiment(
    profile_name: str, objective: str, weight: float, data: str = "shapes2d", reading: str = ""
) -> Settings:
    """The settings of one experiment of a profile; raises as `setting` and `read_otherwise`."""
    parts = profile(profile_name).parts
    if data in DATA_SETS and data not in parts:
        known = ", ".join(parts)
        raise ValueError(f"the {profile_name} profile does nothing on {data}; it has {known}")
    settings = setting(objective, weight, data, **parts[data].common if data in parts else {})
    return read_otherwise(settings, reading) if reading else settings


def plan(profile_name: str, seeds: int | None = None, data: str | None = None) -> Plan:
    """Every experiment of a profile (on one data set, if told) with its seeds, most valuable first.

    On each data set the rows of Table 1, then the profile's groups. `seeds` replaces its numbers.
    """
    parts, seeds = profile(profile_name).parts, check_seeds(seeds)
    if data not in (None, *DATA_SETS):
        raise ValueError(f"unknown data {data!r}; known: {', '.join(DATA_SETS)}")
    found = []
    for name, part in parts.items():
        if data in (None, name):
            for group in (Group(DATA_SETS[name].rows, part.seeds), *part.groups):
                its = tuple(range(seeds or group.seeds))
                for point in group.points:
                    found.append((experiment(profile_name, *point, name, group.reading), its))
    return found


def is_in_table_1(settings: Settings) -> bool:
    """Whether an experiment is a row of Table 1 (of chairs: of the traversals)."""
    rows = DATA_SETS[settings.data].rows
    return not settings.reading and (settings.objective, settings.weight) in rows


def runs_of(chosen: Plan) -> list[Run]:
    """The runs of a plan, experiment by experiment."""
    return [(settings, seed) for settings, seeds in chosen for seed in seeds]


def in_order(chosen: Plan) -> list[Run]:
    """The runs of a plan, most valuable first: Table 1's rows seed by seed, so that all rows have
    the same seeds at any time, then the other groups, each seed by seed.
    """

    def group(run: Run) -> tuple:
        return run[0].data, run[0].reading, is_in_table_1(run[0])

    runs = runs_of(chosen)
    groups = list(dict.fromkeys(map(group, runs)))
    return sorted(runs, key=lambda run: (groups.index(group(run)), run[1]))


def keeps_pictures(settings: Settings, seed: int) -> bool:
    """Whether a run leaves traversals and its decoder: the first seed of each row of Table 1."""
    return seed == 0 and is_in_table_1(settings)


def leaves_codes(settings: Settings) -> bool:
    """Whether a run leaves the codes of its scored images, and is scored by them (codes.py)."""
    return settings.data == "shapes2d" and settings.test_images <= CODED_IMAGES
