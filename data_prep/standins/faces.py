"""Drawn faces that stand in for CelebA where it is not at hand: 64x64 colour images with 24 binary attributes.

    python -m data_prep.standins.faces --out data        (20,000 images: about 20 s, 246 MB on disk, 0.1 GB of memory)

They exist so that everything made for CelebA can run and be checked anywhere. They are not CelebA: its attributes' names
and order are used, and nothing else of it. Shares and correlations below are plausible numbers of our own, not measured
on it, and no score on these faces says anything about CelebA.

A face is its attributes (0 or 1) and its nuisances (continuous, each uniform between the bounds in NUISANCES): pose, size,
light, skin, background, hair, ... Attributes are drawn one after the other in the order of MODEL, each a logistic function
of those before it and of a few nuisances. Every attribute is seen in the picture but `Attractive`, which has no shape of
its own: it is, as in life, a noisy opinion about the others (see MODEL).

data_prep.standins.draw_faces turns them into pixels. The same seed gives the same bytes on every machine. (The draws come from NumPy's
PCG64; a NumPy that changed `Generator.random` would give other faces.)
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt8

from data_prep.packed import labels_file
from data_prep.standins.common import whole_number, write_once
from data_prep.standins.draw_faces import draw

VERSION = 1  # goes up whenever a face or a label changes
STEM = "faces"
NAME = "stand-in faces (for CelebA)"
MOST_IMAGES = 1_000_000
TEST_SHARE, SPLIT_SEED = 0.1, 0  # the held-out images are the same for every seed

# In CelebA's order.
ATTRIBUTES = (
    "Arched_Eyebrows", "Attractive", "Bald", "Bangs", "Big_Nose", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows",
    "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Pale_Skin", "Smiling", "Wavy_Hair", "Wearing_Hat", "Wearing_Lipstick", "Young",
)  # fmt: skip

# name: (least, most); lengths in pixels for x, y and scale, in half face widths elsewhere
NUISANCES = {
    "yaw": (-0.4, 0.4),  # sine of the turn to the side, right positive
    "pitch": (-0.3, 0.3),  # of the nod, down positive
    "tilt": (-0.07, 0.07),  # tangent of half the angle, so that sine and cosine are fractions
    "x": (29.0, 34.0), "y": (32.0, 35.0), "scale": (15.0, 17.5),
    "light_x": (-0.8, 0.8), "light_y": (-0.6, 0.1), "light": (0.25, 0.6),  # where it comes from, and how hard it is
    "skin": (0.0, 1.0), "ruddy": (0.0, 1.0),
    "back_red": (0.1, 0.9), "back_green": (0.1, 0.9), "back_blue": (0.1, 0.9),
    "gradient_x": (-0.35, 0.35), "gradient_y": (-0.35, 0.35),
    "cloth_red": (0.05, 0.9), "cloth_green": (0.05, 0.9), "cloth_blue": (0.05, 0.9),
    "hair_shade": (0.0, 1.0), "hair_length": (0.0, 1.0), "hair_volume": (0.0, 1.0), "parting": (-0.45, 0.45),
    "wave_phase": (0.0, 1.0),
    "width": (0.93, 1.04), "length": (0.95, 1.06),
    "eyes": (0.88, 1.12), "iris": (0.0, 1.0), "gaze": (-0.05, 0.05), "brows": (-0.04, 0.04),
    "mouth": (0.9, 1.12), "smile": (0.0, 1.0), "open": (0.0, 1.0), "crooked": (0.0, 1.0),
    "beard": (0.0, 1.0), "frame": (0.0, 1.0), "tint": (0.0, 1.0), "brim": (0.0, 1.0),
    "hat_red": (0.05, 0.85), "hat_green": (0.05, 0.7), "hat_blue": (0.05, 0.85),
}  # fmt: skip

# (attribute, percent of the faces that come out with it, logit where all it depends on is 0 or in the middle, {attribute or
# nuisance it depends on: weight}); a nuisance counts from -1 to 1 over its range. NEVER excludes.
NEVER = -100.0
MODEL = (
    ("Male", 42, -0.3, {}),
    ("Young", 78, 1.7, {"Male": -0.9}),
    ("Pale_Skin", 3, -3.4, {"Male": -1.0, "skin": -1.2}),
    ("Bald", 2, NEVER, {"Male": -NEVER - 2.0, "Young": -2.0}),
    ("Gray_Hair", 8, -0.9, {"Bald": NEVER, "Young": -4.0, "Male": 0.6}),
    ("Black_Hair", 31, -0.9, {"Bald": NEVER, "Gray_Hair": NEVER, "Male": 0.3, "skin": 1.6}),
    ("Blond_Hair", 23, -0.3, {"Bald": NEVER, "Gray_Hair": NEVER, "Black_Hair": NEVER, "Male": -1.5, "skin": -1.6}),
    ("Brown_Hair", 22, 0.5, {"Bald": NEVER, "Gray_Hair": NEVER, "Black_Hair": NEVER, "Blond_Hair": NEVER}),
    ("Wavy_Hair", 35, -0.2, {"Bald": NEVER, "Male": -1.4, "Blond_Hair": 0.4}),
    ("Wearing_Hat", 5, -3.5, {"Male": 1.0}),
    ("Bangs", 20, -1.3, {"Bald": NEVER, "Wearing_Hat": NEVER, "Male": -1.0, "Young": 0.4}),
    ("Heavy_Makeup", 37, 0.1, {"Male": -6.0, "Young": 0.6}),
    ("Wearing_Lipstick", 40, -0.6, {"Male": -4.5, "Heavy_Makeup": 2.6}),
    ("Arched_Eyebrows", 30, -0.7, {"Male": -1.8, "Heavy_Makeup": 0.9}),
    ("Bushy_Eyebrows", 17, -2.6, {"Male": 1.8}),
    ("Big_Nose", 14, -2.4, {"Male": 1.6, "Young": -0.5}),
    ("Narrow_Eyes", 10, -2.2, {}),
    ("Smiling", 51, 0.2, {"Male": -0.4}),
    ("Mouth_Slightly_Open", 49, -0.8, {"Smiling": 1.5}),
    ("No_Beard", 84, -NEVER, {"Male": NEVER + 0.4, "Young": 0.2}),
    ("Goatee", 5, -0.9, {"No_Beard": NEVER}),
    ("Mustache", 4, -1.0, {"No_Beard": NEVER, "Young": -0.5, "Goatee": 1.0}),
    ("Eyeglasses", 6, -2.6, {"Male": 0.8, "Young": -1.0}),
    # An opinion: what the picture shows of youth, make-up and an even face counts, and people still differ.
    ("Attractive", 54, -1.4, {"Young": 1.8, "Heavy_Makeup": 1.2, "Male": -0.4, "Smiling": 0.3, "crooked": -0.8, "Big_Nose": -1.2,
                              "Eyeglasses": -1.0, "Gray_Hair": -1.0, "Bald": -1.0}),
)  # fmt: skip

# Where an attribute is seen: (depth, half-width, top, bottom) of a box in the face's units. As the head turns, the box moves by
# depth * yaw to the right and depth * pitch down. `Attractive` is seen nowhere.
REGIONS = {
    "Arched_Eyebrows": (0.8, 0.95, -0.7, -0.15), "Bald": (0, 1.45, -1.75, 2.2), "Bangs": (0, 1.35, -1.25, 0.45),
    "Big_Nose": (1.05, 0.45, -0.35, 0.7), "Black_Hair": (0, 1.45, -1.75, 2.2), "Blond_Hair": (0, 1.45, -1.75, 2.2),
    "Brown_Hair": (0, 1.45, -1.75, 2.2), "Bushy_Eyebrows": (0.8, 0.95, -0.7, -0.15), "Eyeglasses": (0.85, 1.25, -0.55, 0.35),
    "Goatee": (0.9, 0.4, 0.75, 1.5), "Gray_Hair": (0, 1.45, -1.75, 2.2), "Heavy_Makeup": (0.8, 1.1, -0.55, 0.75),
    "Male": (0, 2.1, -1.75, 2.3), "Mouth_Slightly_Open": (0.92, 0.5, 0.5, 1.1), "Mustache": (0.98, 0.5, 0.45, 0.85),
    "Narrow_Eyes": (0.8, 0.85, -0.4, 0.1), "No_Beard": (0, 1.1, 0.0, 1.5), "Pale_Skin": (0, 1.4, -1.25, 2.2),
    "Smiling": (0.92, 0.6, 0.45, 1.25), "Wavy_Hair": (0, 1.5, -1.85, 2.2), "Wearing_Hat": (0, 1.8, -2.0, -0.05),
    "Wearing_Lipstick": (0.92, 0.5, 0.55, 1.0), "Young": (0.8, 0.75, -1.0, 1.05),
}  # fmt: skip


def sample(
    count: int, seed: int
) -> tuple[Int16[np.ndarray, "count attribute"], Float32[np.ndarray, "count nuisance"]]:
    """Draw attributes (0 or 1, in the order of ATTRIBUTES) and nuisances (in the order and within the bounds of NUISANCES).

    The first faces of a larger count are those of a smaller one. Raises ValueError unless 1 <= count <= 1,000,000 and
    seed >= 0, both whole numbers.
    """
    count, seed = (
        whole_number(count, "the number of images", 1, MOST_IMAGES),
        whole_number(seed, "the seed", 0),
    )
    draws = np.random.default_rng([seed, VERSION])
    low, high = np.array(list(NUISANCES.values())).T
    attributes = np.empty((count, len(ATTRIBUTES)), np.int16)
    nuisances = np.empty((count, len(NUISANCES)), np.float32)
    for first in range(0, count, 8192):
        u = draws.random((min(8192, count - first), len(NUISANCES) + len(MODEL)))
        mine = slice(first, first + len(u))
        nuisances[mine] = low + (high - low) * u[:, : len(NUISANCES)]
        known = dict(zip(NUISANCES, 2 * u.T - 1))
        for (name, _, logit, weights), chance in zip(MODEL, u.T[len(NUISANCES) :]):
            logit = logit + sum(weight * known[other] for other, weight in weights.items())
            known[name] = chance < 1 / (1 + np.exp(-logit))
            attributes[mine, ATTRIBUTES.index(name)] = known[name]
    return attributes, nuisances


def render(attributes, nuisances) -> UInt8[np.ndarray, "n 3 64 64"]:
    """Draw faces: planes red, green, blue of 64 rows, 0 to 255; `attributes` (N, 24) and `nuisances` (N, 41) as `sample` gives.

    Any attributes can be combined, also those that `sample` never does. Raises ValueError if a shape is wrong, an attribute
    is neither 0 nor 1, or a nuisance is out of its bounds.
    """
    attributes, nuisances = np.asarray(attributes), np.asarray(nuisances, np.float32)
    for what, values, names in (
        ("attributes", attributes, ATTRIBUTES),
        ("nuisances", nuisances, NUISANCES),
    ):
        if values.ndim != 2 or values.shape[1] != len(names):
            raise ValueError(f"{what} must have shape (N, {len(names)}), not {values.shape}")
    if len(attributes) != len(nuisances):
        raise ValueError(
            f"{len(attributes)} rows of attributes do not go with {len(nuisances)} rows of nuisances"
        )
    for row, column in np.argwhere((attributes != 0) & (attributes != 1))[:1]:
        raise ValueError(
            f"{ATTRIBUTES[column]} must be 0 or 1, found {attributes[row, column]} in row {row}"
        )
    low, high = np.float32(list(NUISANCES.values())).T
    for row, column in np.argwhere(~((low <= nuisances) & (nuisances <= high)))[:1]:
        name = list(NUISANCES)[column]
        raise ValueError(
            f"{name} must lie in {low[column]:g} to {high[column]:g}, found {nuisances[row, column]:g} in row {row}"
        )
    return draw(dict(zip((*ATTRIBUTES, *NUISANCES), (*attributes.T, *nuisances.T))))


def held_out(images: int) -> Bool[np.ndarray, " images"]:
    """Which images test: a random 10 %, the same for the same number of images."""
    order = np.argsort(np.random.default_rng(SPLIT_SEED).random(images), kind="stable")
    return np.isin(np.arange(images), order[: round(TEST_SHARE * images)])


def _pieces(attributes, nuisances, say) -> Iterator[bytes]:
    start, step = time.perf_counter(), 256
    for first in range(0, len(attributes), step):
        if first and first % (16 * step) == 0:
            left = (time.perf_counter() - start) * (len(attributes) - first) / first
            say(f"  {first:,} of {len(attributes):,} images, about {left:.0f} s left")
        yield render(attributes[first : first + step], nuisances[first : first + step]).tobytes()


def write_all(out: Path, images: int = 20_000, seed: int = 0, say=lambda line: None) -> None:
    """Write faces.rgb, faces.labels.npz and faces.json under `out`, unless this version's are there for this number and seed.

    Raises ValueError unless 10 <= images <= 1,000,000 and seed >= 0, and OSError (no room, no permission); neither leaves
    half a set behind.
    """
    images, seed = (
        whole_number(images, "the number of images", 10, MOST_IMAGES),
        whole_number(seed, "the seed", 0),
    )
    info = {
        "name": NAME, "source": "stand-in", "version": VERSION, "seed": seed, "images": images, "channels": 3,
        "factors": [{"name": name, "values": [0, 1], "discrete": True} for name in ATTRIBUTES],
    }  # fmt: skip
    attributes, nuisances = sample(images, seed)
    labels = labels_file(attributes, held_out(images))
    write_once(out, STEM, _pieces(attributes, nuisances, say), info, labels, say)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="data_prep.standins.faces", description="Draw faces that stand in for CelebA."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="folder to write to (default: data)"
    )
    parser.add_argument(
        "--images", type=int, default=20_000, help="how many, at least 10 (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    arguments = parser.parse_args(argv)
    try:
        write_all(
            arguments.out, arguments.images, arguments.seed, lambda line: print(line, flush=True)
        )
    except (OSError, ValueError) as error:
        print(f"data_prep.standins.faces: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("data_prep.standins.faces: interrupted; nothing was kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
