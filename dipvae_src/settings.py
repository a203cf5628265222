"""The settings of one experiment: everything that decides its numbers, but its seed.

from dipvae_src.settings import Settings, check_settings
check_settings(Settings("dip-vae-i", lambda_od=10, lambda_d=100))
"""

import dataclasses
import math
from dataclasses import dataclass

OBJECTIVES = ("beta-vae", "dip-vae-i", "dip-vae-ii")
NETWORKS = ("fc", "conv", "conv-2x2")
DATA_SETS = ("shapes2d", "celeba", "chairs")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the numbers of an experiment, but its seed. Defaults: the paper's 2D Shapes (see README)."""

    objective: str  # one of OBJECTIVES; the plain VAE is beta-vae with beta 1
    beta: float = 1.0  # weight of the KL; 1 for DIP-VAE
    lambda_od: float = 0.0  # weight of the off-diagonal part of the DIP penalty
    lambda_d: float = 0.0  # weight of its diagonal part
    lambda_3: float = 0.0  # weight of the third moments (DIP-VAE-II on 2D Shapes)
    third_moments: str = (
        "marginal"  # which of them: each latent's own, or "joint": those of all triples of latents
    )
    memory: float = 0.0  # of a running covariance: the share of the past in it; 0: the minibatch's, as the paper has it
    data: str = "shapes2d"  # one of DATA_SETS
    network: str = "fc"  # a row of the table in models.py
    width: int = 1200  # units of a fully connected layer
    filters: int = 32  # of the first convolution
    latents: int = 10
    batch_size: int = 400
    steps: int = 100_000  # open in the paper
    learning_rate: float = 1e-4  # Adam
    test_images: int = 73_728  # scored images, from the 10 % held out
    zdiff_train: int = 10_000  # vectors that fit, and that test, the Z-diff classifier
    zdiff_test: int = 5_000
    reading: str = (
        ""  # what is read otherwise than in the paper, in words; decides nothing but the name
    )

    @property
    def label(self) -> str:
        """As tables and figures write it."""
        reading = f", {self.reading}" if self.reading else ""
        if self.objective == "beta-vae":
            return ("VAE" if self.beta == 1 else f"beta-VAE (beta {self.beta:g})") + reading
        numeral = self.objective.removeprefix("dip-vae-").upper()
        return f"DIP-VAE-{numeral} (lambda_od {self.lambda_od:g}){reading}"

    @property
    def weight(self) -> float:
        """The one weight that a curve of Figure 1 or 2 moves along: beta or lambda_od."""
        return self.beta if self.objective == "beta-vae" else self.lambda_od

    @property
    def name(self) -> str:
        """As files write it; unique within a profile."""
        data = "" if self.data == "shapes2d" else f"{self.data}_"
        third = f"_m3-{self.lambda_3:g}" if self.lambda_3 else ""
        reading = "_" + self.reading.replace(" ", "-") if self.reading else ""
        return f"{data}{self.objective}_{self.weight:g}{third}{reading}"


def check_settings(settings: Settings) -> Settings:
    """The same settings, or ValueError or TypeError naming the field, what was given and what would be right."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        wanted = {"str": str, "int": int, "float": (int, float)}[
            getattr(field.type, "__name__", field.type)
        ]
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
        ("network", settings.network, NETWORKS),
        ("third_moments", settings.third_moments, ("marginal", "joint")),
    ):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
    if (
        settings.objective == "beta-vae"
        and settings.lambda_od + settings.lambda_d + settings.lambda_3 > 0
    ):
        raise ValueError("beta-vae has no lambda_od, lambda_d or lambda_3; leave them 0")
    if settings.objective != "beta-vae" and settings.beta != 1:
        raise ValueError(f"{settings.objective} has beta 1 by definition, not {settings.beta}")
    if settings.objective == "dip-vae-i" and settings.lambda_3 > 0:
        raise ValueError("lambda_3 belongs to dip-vae-ii; leave it 0 for dip-vae-i")
    if settings.objective != "beta-vae" and settings.batch_size < 2:
        raise ValueError("a covariance needs a batch_size of at least 2")
    if settings.memory >= 1 or (settings.memory and settings.objective == "beta-vae"):
        raise ValueError(
            f"memory belongs to the DIP objectives and is below 1, not {settings.memory} for {settings.objective}"
        )
    if settings.third_moments == "joint" and not settings.lambda_3:
        raise ValueError(
            'third_moments are penalised only where lambda_3 is above 0; leave it "marginal" or set lambda_3'
        )
    if settings.learning_rate == 0:
        raise ValueError("learning_rate must be above 0")
    if settings.latents < 2:
        raise ValueError("SAP compares the two best latents; latents must be at least 2")
    return settings
