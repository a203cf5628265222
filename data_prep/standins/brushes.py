"""The brushes that stand-in faces are painted with: soft shapes, from signed distances, on many pictures at once.

    from data_prep.standins.brushes import cover, ellipse, paint

A batch is a namespace f of float32 arrays whose first axis is the face: f.rgb (n, 3, 64, 64), f.u and f.v (n, 64, 64),
colours (n, 3, 1, 1), and one number a face (n, 1, 1), attributes and nuisances under their own names among them.
"""

from types import SimpleNamespace

import numpy as np


def rgb_of(*channels) -> np.ndarray:
    """A colour (1, 3, 1, 1) from three numbers, or colours (n, 3, 1, 1) from three arrays (n, 1, 1)."""
    return (
        np.stack(np.broadcast_arrays(*channels), axis=1)
        if np.ndim(channels[0])
        else np.float32(channels).reshape(1, 3, 1, 1)
    )


def mix(one, other, share):
    """From `one`, at share 0, to `other`, at 1."""
    return one + share * (other - one)


def paint(rgb, alpha, colour) -> None:
    """Lay `colour` over rgb (n, 3, rows, columns), in place, with coverage alpha (n, rows, columns)."""
    rgb += alpha[:, None] * (colour - rgb)


def cover(f, distance, edge=1.2):
    """Coverage 0 to 1 from a signed distance, negative inside; the edge is that many pixels wide."""
    return np.clip(0.5 - distance * (f.scale / edge), 0, 1)


def bump(u, v, a, b):
    """1 in the middle, smoothly down to 0 at the ellipse with semi-axes a and b."""
    return np.square(np.clip(1 - np.square(u / a) - np.square(v / b), 0, 1))


def ellipse(u, v, a, b, boxy=0.0):
    """Nearly the signed distance to the ellipse with semi-axes a and b; boxy, up to 1, flattens its ends in v."""
    p, q = u / a, v / b
    qq = np.square(q)
    slope = np.sqrt(np.square(p / a) + np.square(q * (1 - boxy + 2 * boxy * qq) / b))
    return (np.square(p) + qq * (1 - boxy + boxy * qq) - 1) / (2 * slope + 1e-3)


def wave(t):
    """Nearly sin(2 pi t), without a sine."""
    t = t - np.floor(t) - 0.5
    return 16 * t * (np.abs(t) - 0.5)


def window(f, u, v, du, dv):
    """rgb, u and v of the pixels that hold, in every picture of the batch, the box of half-sides du, dv about (u, v).

    What is painted there must end inside the box: then it does not matter which faces share a batch.
    """
    x, y = f.x + f.scale * (f.cos * u - f.sin * v), f.y + f.scale * (f.sin * u + f.cos * v)
    rx, ry = f.scale * (du + np.abs(f.sin) * dv) + 1, f.scale * (dv + np.abs(f.sin) * du) + 1
    columns = slice(max(0, int((x - rx).min())), max(0, int((x + rx).max()) + 2))
    rows = slice(max(0, int((y - ry).min())), max(0, int((y + ry).max()) + 2))
    return f.rgb[:, :, rows, columns], f.u[:, rows, columns] - u, f.v[:, rows, columns] - v


def only(f, flag, draw) -> None:
    """Draw on the faces whose flag is set."""
    chosen = np.flatnonzero(flag[:, 0, 0])
    if chosen.size:
        part = SimpleNamespace(**{name: value[chosen] for name, value in vars(f).items()})
        draw(part)
        f.rgb[chosen] = part.rgb
