"""The tests' small data sets: a coarse grid of 2D Shapes, coloured blocks for faces and chairs."""

import itertools

import numpy as np

GRID = {
    "shape": (0, 1, 2),
    "scale": (0, 5),
    "orientation": (0, 5, 10, 15),
    "posX": tuple(range(0, 32, 4)),
    "posY": tuple(range(0, 32, 4)),
}  # 1,536 images
# The twelve of Table 2, not in its order, and two that it does not have.
ATTRIBUTES = (
    "Smiling", "Wearing_Lipstick", "Wearing_Hat", "Wavy_Hair", "No_Beard", "Mouth_Slightly_Open",
    "Young", "Male", "Heavy_Makeup",
    "Blond_Hair", "Black_Hair", "Bangs", "Attractive", "Arched_Eyebrows",
)  # fmt: skip
CHAIRS = {
    "chair": tuple(range(20)),
    "azimuth": (0, 45, 90, 135, 180, 225, 270, 315),
    "elevation": (20, 30),
}


def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (480, 3, 64, 64) uint8, attributes (480, 14), held out (480,): 160 of them.

    Each attribute lights one of 16 blocks of 16 x 16 pixels, in a colour of its own; the whole has
    a brightness of its own.
    """
    rng = np.random.default_rng(0)
    attributes = (
        rng.random((480, len(ATTRIBUTES))) < np.linspace(0.3, 0.7, len(ATTRIBUTES))
    ).astype(np.int16)
    colours = rng.integers(60, 256, size=(len(ATTRIBUTES), 3))
    images = np.repeat(rng.integers(20, 60, size=480), 3 * 64 * 64).reshape(480, 3, 64, 64)
    for k, colour in enumerate(colours):
        y, x = 16 * (k // 4), 16 * (k % 4)
        images[:, :, y : y + 16, x : x + 16] += (
            attributes[:, k, None, None, None] * colour[:, None, None] * 3 // 4
        )
    return images.astype(np.uint8), attributes, np.arange(480) % 3 == 0


def chairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (320, 3, 64, 64) uint8, factors (320, 3) in the order of CHAIRS, held out (320,): the
    last 4 of 20 chairs, 64 images.

    A block on white: its colour is the chair's, its column the azimuth, its height the elevation.
    """
    factors = np.array(
        list(itertools.product(*(range(len(values)) for values in CHAIRS.values()))), np.int16
    )
    colours = np.random.default_rng(1).integers(0, 200, size=(20, 3)).astype(np.uint8)
    images = np.full((len(factors), 3, 64, 64), 255, np.uint8)
    for image, (chair, azimuth, elevation) in zip(images, factors):
        image[:, 40 - 24 * elevation : 56, 8 * azimuth : 8 * azimuth + 8] = colours[chair][
            :, None, None
        ]
    return images, factors, factors[:, 0] >= 16
