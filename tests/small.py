"""The coarse grid of 2D Shapes that the tests use: 1,536 images."""

GRID = {
    "shape": (0, 1, 2),
    "scale": (0, 5),
    "orientation": (0, 5, 10, 15),
    "posX": tuple(range(0, 32, 4)),
    "posY": tuple(range(0, 32, 4)),
}
