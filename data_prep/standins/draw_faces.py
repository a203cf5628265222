"""How a stand-in face is drawn: attributes and nuisances, by name, turned into 64x64 colour pixels.

Back to front, each part a signed distance to its outline turned into a coverage between 0 and 1, in
the face's own coordinates: u to the right and v down from a point between the eyes and the nose, in
units of half a face's width, about 15 pixels. Turning the head moves what lies further in front
further: what lies `depth` in front of the head's axis by depth * yaw to the right and depth * pitch
down. On pixels only +, -, *, /, square root, floor and comparison are used, which IEEE 754 rounds
in one way, so the same numbers give the same bytes on every machine, whatever the batch.

A batch is a namespace f of float32 arrays of four axes, face, channel, row and column: f.rgb
(n, 3, 64, 64), f.u and f.v (n, 1, 64, 64), colours (n, 3, 1, 1), and a number a face (n, 1, 1, 1),
attributes and nuisances of faces.py under their own names among them.
"""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from jaxtyping import UInt8

from data_prep.packed import HEIGHT, WIDTH

CHUNK = 16  # images drawn at once: what one step touches stays in the cache

# Brushes: soft shapes, on many pictures at once.
rgb = lambda *channels: np.float32(channels).reshape(1, 3, 1, 1)
unit = lambda x: np.clip(x, 0, 1)
mix = lambda one, other, share: one + share * (other - one)
dome = lambda x: unit(1 - np.square(x))  # 1 in the middle, down to 0 at -1 and 1
line = lambda distance, sharp: unit(1 - np.abs(distance) * sharp)  # 1, down to 0 at 1 / sharp
bump = lambda u, v, a, b: np.square(unit(1 - np.square(u / a) - np.square(v / b)))  # on an ellipse
# Coverage from a signed distance, negative inside, where the edge is that many pixels wide.
cover = lambda f, distance, edge=1.2: unit(0.5 - distance * (f.scale / edge))


def paint(pixels, alpha, colour) -> None:
    """Lay `colour` over the pixels, in place, with coverage alpha (n, 1, rows, columns)."""
    pixels += alpha * (colour - pixels)


def ellipse(u, v, a, b, boxy=0.0):
    """Nearly the signed distance to the ellipse of semi-axes a, b; boxy (0 to 1) flattens ends."""
    p, q = u / a, v / b
    qq = np.square(q)
    slope = np.sqrt(np.square(p / a) + np.square(q * (1 - boxy + 2 * boxy * qq) / b))
    return (np.square(p) + qq * (1 - boxy + boxy * qq) - 1) / (2 * slope + 1e-3)


def wave(t):
    """Nearly sin(2 pi t), without a sine."""
    t = t - np.floor(t) - 0.5
    return 16 * t * (np.abs(t) - 0.5)


def window(f, depth, v, half_width, half_height):
    """rgb, u and v of the pixels that hold, in every picture, a box about (0, v), `depth` in front.

    u and v count from its middle. What is painted there must end inside the box: then it does not
    matter which faces share a batch.
    """
    u, v = depth * f.yaw, v + depth * f.pitch
    x, y = f.x + f.scale * (f.cos * u - f.sin * v), f.y + f.scale * (f.sin * u + f.cos * v)
    lean = np.abs(f.sin)
    rx = f.scale * (half_width + lean * half_height) + 1
    ry = f.scale * (half_height + lean * half_width) + 1
    rows, columns = (
        slice(max(0, int((at - r).min())), max(0, int((at + r).max()) + 2))
        for at, r in ((y, ry), (x, rx))
    )
    return f.rgb[..., rows, columns], f.u[..., rows, columns] - u, f.v[..., rows, columns] - v


def each_side(f, u, foreshortening):
    """Which side (-1 left, 1 right), how narrow it is in this turn, and u from its eye outwards."""
    side = np.where(u < 0, np.float32(-1), np.float32(1))
    narrow = 1 - foreshortening * side * f.yaw
    return side, narrow, (u * side - 0.43 * narrow) / narrow


def only(f, flag, part) -> None:
    """Draw a part of the face on the faces whose flag is set."""
    chosen = np.flatnonzero(flag)
    if chosen.size:
        some = SimpleNamespace(**{name: value[chosen] for name, value in vars(f).items()})
        part(some)
        f.rgb[chosen] = some.rgb


def draw(people: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, "n 3 64 64"]:
    """Faces as planes red, green, blue of 64 rows, 0 to 255.

    `people` gives every attribute and nuisance of faces.py, a column (n,) each, not checked here.
    """
    images = np.empty((len(people["x"]), 3, HEIGHT, WIDTH), np.uint8)
    for first in range(0, len(images), CHUNK):
        rows = slice(first, first + CHUNK)
        f = _batch({name: column[rows] for name, column in people.items()})
        _behind(f)
        _head(f)
        only(f, 1 - f.Young, _age)
        only(f, np.maximum(1 - f.No_Beard, f.Goatee), _whiskers)
        _nose(f)
        _eyes(f)
        _mouth(f)
        only(f, f.Mustache, _mustache)
        _hair(f)
        only(f, f.Eyeglasses, _glasses)
        only(f, f.Wearing_Hat, _hat)
        images[rows] = (unit(f.rgb) * 255 + 0.5).astype(np.uint8)
    return images


def _batch(people: Mapping[str, np.ndarray]) -> SimpleNamespace:
    """The background, and what the parts share: coordinates, light, colours of skin and hair."""
    numbers = {name: np.float32(column)[:, None, None, None] for name, column in people.items()}
    f = SimpleNamespace(**numbers)
    back, f.cloth, f.hat = (
        np.concatenate([numbers[f"{thing}_{channel}"] for channel in ("red", "green", "blue")], 1)
        for thing in ("back", "cloth", "hat")
    )
    f.cos, f.sin = (1 - f.tilt * f.tilt) / (1 + f.tilt * f.tilt), 2 * f.tilt / (1 + f.tilt * f.tilt)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    f.u = ((x - f.x) * f.cos + (y - f.y) * f.sin) / f.scale
    f.v = ((y - f.y) * f.cos - (x - f.x) * f.sin) / f.scale
    slope = f.gradient_x * ((x - 31.5) / 32) + f.gradient_y * ((y - 31.5) / 32)
    grey = (f.back_red + f.back_green + f.back_blue) / 6
    f.rgb = unit(0.5 * back + grey + slope)  # half way to grey
    f.light_z = np.sqrt(1.4 - f.light_x * f.light_x - f.light_y * f.light_y)

    tone = f.skin * (0.3 + 0.7 * f.skin)
    light, middle, dark = rgb(0.95, 0.78, 0.66), rgb(0.86, 0.63, 0.47), rgb(0.36, 0.23, 0.16)
    skin = mix(mix(light, middle, tone), mix(middle, dark, tone), tone)
    skin = skin + (f.ruddy - 0.5) * rgb(0.05, -0.03, -0.04)
    f.skin_lit = mix(skin, rgb(0.98, 0.92, 0.88), 0.75 * f.Pale_Skin)
    f.skin_dark = f.skin_lit * rgb(0.50, 0.38, 0.34)

    named = f.Black_Hair + f.Blond_Hair + f.Brown_Hair + f.Gray_Hair
    hair = f.Black_Hair * rgb(0.13, 0.11, 0.12) + f.Blond_Hair * rgb(0.95, 0.80, 0.48)
    hair = hair + f.Brown_Hair * rgb(0.43, 0.26, 0.14) + f.Gray_Hair * rgb(0.76, 0.76, 0.78)
    hair = hair + (named == 0) * rgb(0.66, 0.29, 0.12)
    f.hair_lit = hair / np.maximum(named, 1) * (0.8 + 0.3 * f.hair_shade)
    f.hair_dark = f.hair_lit * rgb(0.45, 0.40, 0.38)
    f.whiskers = f.hair_dark * (1 - 0.7 * tone)  # brows and beard stand out from dark skin too
    return f


def _behind(f) -> None:
    """Shoulders, the hair that falls behind, neck and ears."""
    fold = np.clip(0.85 + 0.25 * f.light_x * f.u - 0.12 * unit(f.v - 1.9), 0.4, 1.1)
    shoulders = ellipse(f.u, f.v - 2.68, 1.75 + 0.3 * f.Male, 1.15, 0.8)
    paint(f.rgb, cover(f, shoulders), f.cloth * fold)

    f.hair_a, f.hair_b = 1.08 + 0.14 * f.hair_volume, 1.16 + 0.12 * f.hair_volume
    sway, phase, u = 0.07 * f.Wavy_Hair, f.wave_phase, f.u + 0.1 * f.yaw
    f.hair_u = u + sway * wave(1.3 * f.v + phase)
    f.hair_v = f.v + sway * wave(1.25 * u + phase) + 0.38
    bend = (0.05 + 0.12 * f.Wavy_Hair) * wave(1.3 * f.v + phase + 0.3)
    streak = wave(2.6 * f.hair_u + bend + phase)
    glow = unit(1 - 9 * np.square(f.v + 1.05 + 0.25 * f.u * f.u))
    lit = 0.55 + 0.22 * streak + f.light * (0.6 * f.u * f.light_x - 0.3 * f.v * f.light_y)
    lit = np.clip(lit + 0.3 * glow - 0.1 * np.clip(f.v, 0, 2), 0.05, 1.2)
    f.hair = mix(f.hair_dark, f.hair_lit, lit)
    below = np.float32(f.hair_v > 0)
    end = mix(1.15 + 1.7 * f.hair_length, 0.55 + 0.25 * f.hair_length, f.Male)
    width, height = f.hair_a + 0.06 - 0.12 * f.Male, mix(f.hair_b, end, below)
    back = ellipse(f.hair_u, f.hair_v, width, height, 0.8 * below)
    paint(f.rgb, cover(f, back) * (1 - f.Bald), 0.72 * f.hair)

    pixels, u, v = window(f, 0, 1.4, 1.0, 0.9)
    neck = np.abs(u - 0.15 * f.yaw) - 0.44 - 0.14 * f.Male
    lit = np.clip(0.25 + 0.9 * (v + 0.05) + 0.5 * f.light_x * u, 0.1, 0.85)
    neck = np.maximum(neck, ellipse(u, v + 0.4, 0.8, 1.15))
    paint(pixels, cover(f, neck), mix(f.skin_dark, f.skin_lit, lit))
    pixels, u, v = window(f, 0, 0.05, 1.5, 0.5)
    ears = ellipse(np.abs(u + 0.25 * f.yaw) - 1.0, v + 0.2 * f.pitch, 0.15, 0.27)
    paint(pixels, cover(f, ears), mix(f.skin_dark, f.skin_lit, 0.65))


def _head(f) -> None:
    """The head's skin, shaded as a round body; a man's jaw is squarer."""
    v = f.v + 0.1
    below = np.float32(v > 0)
    a, b = (0.94 + 0.04 * f.Male) * f.width, mix(1.2, 1.4 * f.length, below)
    f.head = cover(f, ellipse(f.u, v, a, b, mix(0.2, 0.05 + 0.5 * f.Male, below)))
    p, q = f.u / a, v / b
    towards = p * f.light_x + q * f.light_y + np.sqrt(unit(1 - p * p - q * q)) * f.light_z
    lit = np.clip(1 + 1.25 * f.light * (towards - 1), 0, 1.08)
    paint(f.rgb, f.head, mix(f.skin_dark, f.skin_lit, lit))
    pixels, u, v = window(f, 0.75, 0.36, 1.0, 0.4)
    _, narrow, _ = each_side(f, u, 0.5)
    cheeks = bump(np.abs(u) - 0.52 * narrow, v, 0.36 * narrow, 0.32)
    paint(pixels, cheeks * (0.08 + 0.32 * f.Heavy_Makeup), f.skin_lit * rgb(0.95, 0.55, 0.55))


def _age(f) -> None:
    """What is not young: folds beside the mouth, lines on the forehead, bags under the eyes."""
    pixels, u, v = window(f, 0.85, 0.6, 0.7, 0.4)
    paint(pixels, 0.45 * (line(np.abs(u) - 0.36 - 0.35 * v, 11) * dome(v / 0.36)), f.skin_dark)
    pixels, u, v = window(f, 0.75, -0.68, 0.6, 0.3)
    lines = unit(wave(4.6 * (v + 0.1 * u * u)) - 0.35) * dome(u / 0.55)
    paint(pixels, 0.6 * lines * dome(v / 0.28), f.skin_dark)
    pixels, u, v = window(f, 0.8, 0.12, 0.8, 0.2)
    paint(pixels, 0.5 * bump(np.abs(u) - 0.42, v, 0.26, 0.12), f.skin_dark)


def _nose(f) -> None:
    """Its sides, bridge, shadow, tip and the light on it, nostrils."""
    size = 1 + 0.5 * f.Big_Nose
    pixels, u, v = window(f, 1.05, 0.2, 0.5, 0.6)
    ridge = u + 0.25 * f.yaw * (v + 0.3)  # the bridge starts nearer to the head's axis than the tip
    shadow = 0.3 - 0.3 * np.clip(4 * u, -1, 1) * f.light_x
    nostril = np.abs(u) - 0.10 * size, v - 0.16 - 0.08 * size, 0.07 * size, 0.055 * size
    for (across, down, a, b), strength, colour in (
        ((np.abs(ridge) - 0.13 * size, v + 0.05, 0.11 * size, 0.42), shadow, f.skin_dark),
        ((ridge, v, 0.10 * size, 0.40), 0.30, f.skin_lit * 0.5 + 0.55),
        ((u, v - 0.26, 0.25 * size, 0.12 * size), 0.55, f.skin_dark),
        ((u, v - 0.13, 0.20 * size, 0.15 * size), 0.75, f.skin_lit),
        ((u + 0.05 * f.light_x, v - 0.11, 0.09, 0.09), 0.5, rgb(1, 0.97, 0.95)),
        (nostril, 0.8, f.skin_dark * 0.5),
    ):
        paint(pixels, bump(across, down, a, b) * strength, colour)


def _eyes(f) -> None:
    """Eyes and brows; the side turned away is narrower."""
    pixels, u, v = window(f, 0.8, -0.28, 0.95, 0.48)
    side, _, e = each_side(f, u, 0.4)  # e from the eye's middle outwards
    v = v - 0.16  # from the eye's middle down
    w, h = 0.23 * f.eyes, (0.135 - 0.075 * f.Narrow_Eyes) * f.eyes
    arch = dome(e / w)
    paint(pixels, bump(e + 0.03, v + 0.03, 0.40, 0.30) * 0.30, f.skin_dark)
    shadow = mix(rgb(0.42, 0.16, 0.42), rgb(0.20, 0.28, 0.50), f.tint)
    paint(pixels, bump(e, v + 0.10, 0.34, 0.24) * 0.85 * f.Heavy_Makeup, shadow)
    upper, lower = v + h * arch, v - 0.75 * h * arch  # down from the lids
    white = cover(f, np.maximum(-upper, lower)) * (arch > 0)
    shaded = 0.55 + 0.42 * unit(0.6 + upper / 0.2)
    paint(pixels, white, rgb(0.93, 0.92, 0.91) * shaded)
    colour = mix(rgb(0.22, 0.12, 0.06), rgb(0.30, 0.38, 0.22), unit(2 * f.iris - 0.5))
    colour = mix(colour, rgb(0.28, 0.45, 0.62), unit(3 * f.iris - 2))
    iris = np.sqrt(np.square(e - f.gaze * side) + np.square(v + 0.01))
    paint(pixels, white * unit((0.115 * f.eyes - iris) * 16 + 0.5), colour)
    paint(pixels, white * unit((0.055 - iris) * 14 + 0.5), rgb(0.04, 0.03, 0.03))
    lash = line(upper + 0.01, 16 - 7 * f.Heavy_Makeup) * np.clip(1.25 - np.abs(e / w), 0, 0.3) * 3.3
    paint(pixels, lash * (0.65 + 0.3 * f.Heavy_Makeup), rgb(0.10, 0.06, 0.05))
    paint(pixels, line(lower, 18) * arch * 0.35, f.skin_dark * 0.7)
    gleam = bump(e * side - 0.035 * f.light_x - f.gaze, v + 0.045, 0.055, 0.055)
    paint(pixels, gleam, rgb(1, 1, 1))

    x = (e - 0.01) / 0.34  # -1 at the brow's inner end, 1 at its outer end
    along = dome(x)
    arched = (0.01 + 0.14 * f.Arched_Eyebrows) * (along - 0.35 + 0.25 * x)
    height = 0.30 + f.brows + 0.04 * side * f.crooked + arched
    thick = (0.038 + 0.042 * f.Bushy_Eyebrows) * (0.55 + 0.45 * along) * (1 - 0.25 * x)
    brow = cover(f, np.abs(v + height) - thick, 1.6) * unit(4 * along)
    paint(pixels, brow * (0.72 + 0.2 * f.Bushy_Eyebrows), 0.75 * f.whiskers + 0.05)


def _mouth(f) -> None:
    """Lips, what is between them, and the corners, which a smile lifts."""
    smile, lipstick = f.Smiling * (0.6 + 0.4 * f.smile), f.Wearing_Lipstick
    w = (0.34 + 0.10 * smile) * f.mouth
    pixels, u, v = window(f, 0.92, 0.78, 0.62, 0.42)
    v = v - 0.07 * f.crooked * u
    x2 = np.square(u / w)
    arch = unit(1 - x2)
    v = v - (0.03 + 0.17 * smile) * (0.45 - x2) + 0.02
    opening = f.Mouth_Slightly_Open * (0.065 + 0.05 * f.open) * arch
    bow = 0.86 + 0.9 * np.clip(np.abs(u) * 3, 0, 0.18)
    up = (0.075 + 0.02 * lipstick) * (arch + 0.1) * bow
    down = (0.10 + 0.025 * lipstick) * (arch + 0.02)
    paint(pixels, bump(u, v - 0.22, 0.26, 0.09) * 0.35, f.skin_dark)
    lips = cover(f, np.maximum(-v - opening - up, v - opening - down))
    red = mix(rgb(0.78, 0.06, 0.14), rgb(0.62, 0.08, 0.30), f.tint)
    colour = mix(f.skin_lit * rgb(0.82, 0.55, 0.54), red, 0.9 * lipstick)
    lit = 0.72 + 0.28 * np.clip(0.5 + v * 9, 0, 1.2)
    paint(pixels, lips * unit(8 * (1.06 - np.sqrt(x2))), colour * lit)
    shine = bump(u + 0.1 * f.light_x, v - opening - 0.045, 0.14, 0.03)
    paint(pixels, shine * (0.35 + 0.4 * lipstick), rgb(1, 0.92, 0.9))
    inside = cover(f, np.abs(v) - opening) * (arch > 0) * f.Mouth_Slightly_Open
    paint(pixels, inside, rgb(0.20, 0.04, 0.05))
    teeth = inside * unit((0.015 - v) * 24) * unit(1.6 - 1.6 * x2)
    paint(pixels, teeth, rgb(0.93, 0.91, 0.87))
    seam = line(v, 24) * unit(6 * (1.08 - np.sqrt(x2))) * (1 - f.Mouth_Slightly_Open)
    paint(pixels, 0.75 * seam, f.skin_dark * 0.45)
    paint(pixels, bump(np.abs(u) - w, v, 0.07, 0.06) * 0.5, f.skin_dark)


def _whiskers(f) -> None:
    """A beard along the jaw, from stubble to full, and a goatee."""
    grain = 0.85 + 0.15 * wave(3.1 * f.u + 0.4 * wave(2.3 * f.v + f.wave_phase))
    bare = ellipse(f.u - 0.6 * f.yaw, f.v - 0.25 - 0.6 * f.pitch, 0.80, 0.86)
    jaw = unit(0.5 + bare * 5) * unit((f.v - 0.05) * 4) * f.head
    beard = jaw * grain * (0.45 + 0.5 * f.beard)
    paint(f.rgb, beard * (1 - f.No_Beard), f.whiskers)
    pixels, u, v = window(f, 0.9, 1.12, 0.4, 0.45)
    goatee = unit(0.5 - ellipse(u, v, 0.27, 0.24, 0.3) * 9)
    paint(pixels, goatee * 0.92 * f.Goatee, 0.9 * f.whiskers)


def _mustache(f) -> None:
    pixels, u, v = window(f, 0.98, 0.62, 0.55, 0.3)
    lobe = np.abs(v - 0.45 * u * u - 0.02) - 0.075 * unit(1.15 - np.square(u / 0.40))
    paint(pixels, unit(0.4 - lobe * 11) * unit(6 - 14 * np.abs(u)) * 0.92, 0.9 * f.whiskers)


def _hair(f) -> None:
    """The hair in front: what lies within its outline and above the hairline; its shadow first."""
    u, v = f.u - 0.55 * f.yaw, f.v - 0.45 * f.pitch
    u2, parted = u * u, np.square(u - f.parting)
    woman, man = 0.62 * parted + 0.35 * u2 * u2, 0.10 * parted + 0.30 * u2 * u2
    hairline = v + 0.98 - mix(woman, man, f.Male)
    fringe = v + 0.50 + 0.045 * wave(1.6 * u + f.wave_phase) - 0.35 * u2
    fringe = fringe + 0.1 * f.Wavy_Hair * wave(1.3 * u)
    hairline = mix(hairline, np.minimum(hairline, fringe), f.Bangs)
    height = mix(f.hair_b, 1.3 + 0.6 * f.hair_length, np.float32(f.hair_v > 0))
    cap = ellipse(f.hair_u, f.hair_v, f.hair_a, height)
    cap = mix(cap, np.maximum(cap, v - 0.15), f.Male)  # down to the ears
    shadow = cover(f, np.maximum(hairline - 0.14, cap), 5.0) * f.head
    paint(f.rgb, shadow * (0.35 - 0.35 * f.Bald), f.skin_dark)
    paint(f.rgb, cover(f, np.maximum(hairline, cap)) * (1 - f.Bald), f.hair)


def _glasses(f) -> None:
    """Lenses, rims, bridge and temples in the colour of the frame, a gleam on each lens."""
    pixels, u, v = window(f, 0.85, -0.1, 1.2, 0.45)
    _, _, e = each_side(f, u, 0.35)
    rim = ellipse(e, v, 0.33, 0.27, 0.5)
    bridge = np.maximum(np.abs(v + 0.06 - 0.1 * u * u) - 0.03, np.abs(u) - 0.13)
    temples = np.maximum(np.abs(v + 0.06) - 0.03, np.abs(e - 0.43) - 0.13)
    paint(pixels, cover(f, rim) * 0.18, rgb(0.75, 0.85, 0.95))
    for part in (np.abs(rim) - 0.035, bridge, temples):
        paint(pixels, cover(f, part), mix(rgb(0.06, 0.06, 0.08), rgb(0.42, 0.24, 0.10), f.frame))
    gleam = bump(e - 0.10, v + 0.12 + 0.5 * (e - 0.1), 0.16, 0.05)
    paint(pixels, gleam * 0.55, rgb(1, 1, 1))


def _hat(f) -> None:
    """A crown and a brim."""
    u, v = f.u - 0.1 * f.yaw, f.v + 0.66 - 0.3 * f.pitch - 0.10 * f.u * f.u
    crown = np.maximum(ellipse(u, v, 1.16 + 0.06 * f.hair_volume, 1.12), v)
    lit = 0.62 + 0.5 * f.light * (u * f.light_x + 0.9) - 0.2 * np.square(u) + 0.06 * wave(2.2 * u)
    lit = np.clip(lit, 0.3, 1.1)
    brim = ellipse(u, v, 1.22 + 0.4 * f.brim, 0.13 + 0.05 * f.brim)
    paint(f.rgb, bump(u, v, 1.15, 0.45) * f.head * 0.7 * (v > 0), f.skin_dark)
    paint(f.rgb, cover(f, crown), f.hat * lit)
    paint(f.rgb, cover(f, np.maximum(crown, np.abs(v + 0.20) - 0.13)), f.hat * 0.45)
    paint(f.rgb, cover(f, brim), f.hat * (0.8 * lit))
