"""What is run: the settings of one experiment, the profiles, and the explicit list of runs that each profile makes.

Nothing here trains. Change a number here and `make plan` shows what it costs.
"""

import dataclasses
import math
from dataclasses import dataclass

OBJECTIVES = ("beta-vae", "dip-vae-i", "dip-vae-ii")
DATA_SETS = ("shapes2d",)


@dataclass(frozen=True)
class Settings:
    """Everything that decides the numbers of an experiment, but its seed. Defaults: the paper's 2D Shapes (see README)."""

    objective: str  # one of OBJECTIVES; the plain VAE is beta-vae with beta 1
    beta: float = 1.0  # weight of the KL; 1 for DIP-VAE
    lambda_od: float = 0.0  # weight of the off-diagonal part of the DIP penalty
    lambda_d: float = 0.0  # weight of its diagonal part
    lambda_3: float = 0.0  # weight of the third moments (DIP-VAE-II on 2D Shapes)
    data: str = "shapes2d"
    network: str = "fc"  # a row of the table in models.py
    width: int = 1200  # units of a fully connected layer
    latents: int = 10
    batch_size: int = 400
    steps: int = 100_000  # open in the paper
    learning_rate: float = 1e-4  # Adam
    test_images: int = 73_728  # scored images, from the 10 % held out
    zdiff_train: int = 10_000  # vectors that fit, and that test, the Z-diff classifier
    zdiff_test: int = 5_000

    @property
    def label(self) -> str:
        """As tables and figures write it."""
        if self.objective == "beta-vae":
            return "VAE" if self.beta == 1 else f"beta-VAE (beta {self.beta:g})"
        numeral = self.objective.removeprefix("dip-vae-").upper()
        return f"DIP-VAE-{numeral} (lambda_od {self.lambda_od:g})"

    @property
    def name(self) -> str:
        """As files write it; unique within a profile."""
        if self.objective == "beta-vae":
            return f"beta-vae_{self.beta:g}"
        third = f"_m3-{self.lambda_3:g}" if self.lambda_3 else ""
        return f"{self.objective}_{self.lambda_od:g}{third}"


def check(settings: Settings) -> Settings:
    """The same settings, or ValueError or TypeError naming the field, what was given and what would be right."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        wanted = {"str": str, "int": int, "float": (int, float)}[getattr(field.type, "__name__", field.type)]
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a text" if wanted is str else "a whole number" if wanted is int else "a number"
            raise TypeError(f"{field.name} must be {kind}, not {value!r} ({type(value).__name__})")
        if wanted is int and value < 1:
            raise ValueError(f"{field.name} must be at least 1, not {value}")
        if wanted == (int, float) and (not math.isfinite(value) or value < 0):
            raise ValueError(f"{field.name} must be a finite number, 0 or more, not {value}")
    for name, value, known in (
        ("objective", settings.objective, OBJECTIVES),
        ("data", settings.data, DATA_SETS),
        ("network", settings.network, ("fc", "conv")),
    ):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
    if settings.objective == "beta-vae" and settings.lambda_od + settings.lambda_d + settings.lambda_3 > 0:
        raise ValueError("beta-vae has no lambda_od, lambda_d or lambda_3; leave them 0")
    if settings.objective != "beta-vae" and settings.beta != 1:
        raise ValueError(f"{settings.objective} has beta 1 by definition, not {settings.beta}")
    if settings.objective == "dip-vae-i" and settings.lambda_3 > 0:
        raise ValueError("lambda_3 belongs to dip-vae-ii; leave it 0 for dip-vae-i")
    if settings.objective != "beta-vae" and settings.batch_size < 2:
        raise ValueError("a covariance needs a batch_size of at least 2")
    if settings.learning_rate == 0:
        raise ValueError("learning_rate must be above 0")
    if settings.latents < 2:
        raise ValueError("SAP compares the two best latents; latents must be at least 2")
    return settings


# --- the settings of the paper, 2D Shapes ---


def beta_vae(beta: float, **common) -> Settings:
    return Settings("beta-vae", beta=float(beta), **common)


def dip_vae_i(lambda_od: float, **common) -> Settings:
    """lambda_d = 10 lambda_od on 2D Shapes."""
    return Settings("dip-vae-i", lambda_od=float(lambda_od), lambda_d=10.0 * lambda_od, **common)


def dip_vae_ii(lambda_od: float, lambda_3: float = 200.0, **common) -> Settings:
    """lambda_d = lambda_od and lambda_3 = 200 on 2D Shapes."""
    return Settings(
        "dip-vae-ii", lambda_od=float(lambda_od), lambda_d=float(lambda_od), lambda_3=float(lambda_3), **common
    )


def table_1(**common) -> list[Settings]:
    """The six rows of Table 1, in its order."""
    return [
        beta_vae(1, **common), beta_vae(4, **common), beta_vae(60, **common),
        dip_vae_i(10, **common), dip_vae_ii(5, **common), dip_vae_ii(500, **common),
    ]  # fmt: skip


# --- profiles ---


@dataclass(frozen=True)
class Profile:
    """A named size of the whole replication."""

    purpose: str
    common: dict  # what it changes of the defaults of Settings
    betas: tuple = ()  # of Figure 1, beyond the rows of Table 1
    lambda_ods_i: tuple = ()
    lambda_ods_ii: tuple = ()
    table_seeds: int = 1  # seeds of each row of Table 1
    curve_seeds: int = 1  # seeds of each further point of Figure 1

    def left_out(self) -> str:
        """What separates this profile from the paper's setting, for titles; empty for the full one."""
        full = {field.name: field.default for field in dataclasses.fields(Settings)}
        words = {
            "width": "width {0} for {1}", "steps": "{0:,} steps for {1:,}", "batch_size": "batch {0} for {1}",
            "learning_rate": "learning rate {0:g} for {1:g}", "test_images": "{0:,} test images for {1:,}",
            "zdiff_train": "{0:,} Z-diff vectors for {1:,}",
        }  # fmt: skip
        return ", ".join(words[k].format(v, full[k]) for k, v in self.common.items() if k in words and v != full[k])


PROFILES = {
    "smoke": Profile(
        purpose="seconds; shows that every line runs, its numbers mean nothing",
        common=dict(width=32, steps=60, batch_size=64, learning_rate=1e-3, test_images=2_000, zdiff_train=500, zdiff_test=250),
    ),
    "quick": Profile(
        purpose="minutes on two cores; a small network, trained briefly",
        common=dict(width=256, steps=1_200, learning_rate=1e-3, test_images=10_000),
        betas=(16,), lambda_ods_i=(100,), lambda_ods_ii=(50,), table_seeds=3,
    ),
    "paper": Profile(
        purpose="the paper's networks and sweeps; needs a GPU",
        common={},
        betas=(1, 4, 8, 16, 25, 32, 60, 64, 100, 128, 200, 256),
        lambda_ods_i=(1, 2, 5, 10, 20, 50, 80, 100, 500),
        lambda_ods_ii=(1, 2, 5, 10, 20, 50, 80, 100, 500),
        table_seeds=10, curve_seeds=3,
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
        raise ValueError(f"SEEDS must be a whole number from 1 to {MAX_SEEDS} (how many seeds a setting), not {seeds!r}")
    return seeds


def plan(profile_name: str, seeds: int | None = None) -> list[tuple[Settings, tuple[int, ...]]]:
    """Every experiment of a profile with its seeds, most valuable first: the rows of Table 1, then the rest of Figure 1."""
    chosen, seeds = profile(profile_name), check_seeds(seeds)
    common = chosen.common
    rows = table_1(**common)
    points = [beta_vae(b, **common) for b in chosen.betas]
    points += [dip_vae_i(w, **common) for w in chosen.lambda_ods_i]
    points += [dip_vae_ii(w, **common) for w in chosen.lambda_ods_ii]
    experiments = [(check(s), tuple(range(seeds or chosen.table_seeds))) for s in rows]
    return experiments + [(check(s), tuple(range(seeds or chosen.curve_seeds))) for s in points if s not in rows]


def keeps_pictures(settings: Settings, seed: int) -> bool:
    """Whether a run leaves traversals and weights: the first seed of each row of Table 1."""
    return seed == 0 and settings.name in {row.name for row in table_1()}
