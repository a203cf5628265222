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
    """What decides an experiment's numbers, but for its seed. Defaults: the paper's 2D Shapes."""

    objective: str  # one of OBJECTIVES; the plain VAE is beta-vae with beta 1
    beta: float = 1.0  # weight of the KL; 1 for DIP-VAE
    lambda_od: float = 0.0  # weight of the off-diagonal part of the DIP penalty
    lambda_d: float = 0.0  # weight of its diagonal part
    lambda_3: float = 0.0  # weight of the third moments (DIP-VAE-II on 2D Shapes)
    third_moments: str = "marginal"  # each latent's own, or "joint": of all triples of latents
    memory: float = 0.0  # share of the past in a running covariance; the paper's 0: the minibatch's
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
    reading: str = ""  # what is read otherwise than in the paper, in words; decides the name alone

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


KINDS = {str: (str, "a text"), int: (int, "a whole number"), float: ((int, float), "a number")}


def check_settings(settings: Settings) -> Settings:
    """The same settings, or ValueError or TypeError: the field, what it is, what would be right."""
    for field in dataclasses.fields(settings):
        value, (kinds, kind) = getattr(settings, field.name), KINDS[field.type]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(f"{field.name} must be {kind}, not {value!r} ({type(value).__name__})")
        if field.type is int and value < 1:
            raise ValueError(f"{field.name} must be at least 1, not {value}")
        if field.type is float and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{field.name} must be a finite number, 0 or more, not {value}")
    for name, known in {
        "objective": OBJECTIVES, "data": DATA_SETS, "network": NETWORKS,
        "third_moments": ("marginal", "joint"),
    }.items():  # fmt: skip
        if (value := getattr(settings, name)) not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
    objective, memory = settings.objective, settings.memory
    dip = objective != "beta-vae"
    penalties = settings.lambda_od + settings.lambda_d + settings.lambda_3
    for message, wrong in {
        "beta-vae has no lambda_od, lambda_d or lambda_3; leave them 0": not dip and penalties > 0,
        f"{objective} has beta 1 by definition, not {settings.beta}": dip and settings.beta != 1,
        "lambda_3 belongs to dip-vae-ii; leave it 0 for dip-vae-i":
            objective == "dip-vae-i" and settings.lambda_3 > 0,
        "a covariance needs a batch_size of at least 2": dip and settings.batch_size < 2,
        f"memory belongs to the DIP objectives and is below 1, not {memory} for {objective}":
            memory >= 1 or (memory > 0 and not dip),
        'third_moments need a lambda_3 above 0; leave it "marginal" or set lambda_3':
            settings.third_moments == "joint" and settings.lambda_3 == 0,
        "learning_rate must be above 0": settings.learning_rate == 0,
        "SAP compares the two best latents; latents must be at least 2": settings.latents < 2,
    }.items():  # fmt: skip
        if wrong:
            raise ValueError(message)
    return settings
