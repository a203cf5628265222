"""How a stand-in face is drawn: its attributes and nuisances, by name, turned into 64x64 colour pixels.

    from data_prep.standins.draw_faces import draw        (standin_faces.render checks the numbers and calls it)

Back to front, each part a signed distance to its outline turned into a coverage between 0 and 1, in the face's own
coordinates: u to the right and v down from a point between the eyes and the nose, in units of half a face's width, about 15
pixels. Turning the head (yaw, pitch) moves what lies further in front further. On pixels only +, -, *, /, square root, floor
and comparison are used, which IEEE 754 rounds in one way, so the same numbers give the same bytes on every machine, whatever
the batch.

What lies `depth` in front of the head's axis is moved by depth * f.yaw and depth * f.pitch. data_prep.standins.brushes says what f is.
"""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
from jaxtyping import UInt8

from data_prep.packed import HEIGHT, WIDTH
from data_prep.standins.brushes import bump, cover, ellipse, mix, only, paint, rgb_of, wave, window

CHUNK = 16  # images drawn at once: what one step touches stays in the cache


def draw(people: Mapping[str, np.ndarray]) -> UInt8[np.ndarray, "n 3 64 64"]:
    """Faces as planes red, green, blue of 64 rows, 0 to 255; `people` gives every attribute and nuisance of
    data_prep.standins.faces, a column (n,) each. Nothing is checked here.
    """
    images = np.empty((len(people["x"]), 3, HEIGHT, WIDTH), np.uint8)
    for first in range(0, len(images), CHUNK):
        rows = slice(first, first + CHUNK)
        images[rows] = _draw({name: column[rows] for name, column in people.items()})
    return images


def _draw(people) -> UInt8[np.ndarray, "n 3 64 64"]:
    f = _batch(people)
    _behind(f)
    _head(f)
    only(f, 1 - f.Young, _age)
    only(f, 1 - f.No_Beard, _beard)
    only(f, f.Goatee, _goatee)
    _nose(f)
    _eyes(f)
    _mouth(f)
    only(f, f.Mustache, _mustache)
    _hair(f)
    only(f, f.Eyeglasses, _glasses)
    only(f, f.Wearing_Hat, _hat)
    return (np.clip(f.rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def _batch(people) -> SimpleNamespace:
    f = SimpleNamespace(
        **{name: column.astype(np.float32)[:, None, None] for name, column in people.items()}
    )
    f.cos, f.sin = (1 - f.tilt * f.tilt) / (1 + f.tilt * f.tilt), 2 * f.tilt / (1 + f.tilt * f.tilt)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    f.u = ((x - f.x) * f.cos + (y - f.y) * f.sin) / f.scale
    f.v = ((y - f.y) * f.cos - (x - f.x) * f.sin) / f.scale
    slope = f.gradient_x * ((x - 31.5) / 32) + f.gradient_y * ((y - 31.5) / 32)
    back = rgb_of(f.back_red, f.back_green, f.back_blue)
    back = 0.5 * back + (f.back_red + f.back_green + f.back_blue)[:, None] / 6  # half way to grey
    f.rgb = np.clip(back + slope[:, None], 0, 1)
    f.light_z = np.sqrt(1.4 - f.light_x * f.light_x - f.light_y * f.light_y)

    tone, pale = (f.skin * (0.3 + 0.7 * f.skin))[:, None], f.Pale_Skin[:, None]
    light, middle, dark = (
        rgb_of(0.95, 0.78, 0.66),
        rgb_of(0.86, 0.63, 0.47),
        rgb_of(0.36, 0.23, 0.16),
    )
    skin = mix(mix(light, middle, tone), mix(middle, dark, tone), tone)
    skin = skin + (f.ruddy[:, None] - 0.5) * rgb_of(0.05, -0.03, -0.04)
    f.skin_lit = mix(skin, rgb_of(0.98, 0.92, 0.88), 0.75 * pale)
    f.skin_dark = f.skin_lit * rgb_of(0.50, 0.38, 0.34)

    shares = (f.Black_Hair, f.Blond_Hair, f.Brown_Hair, f.Gray_Hair)
    colours = (
        rgb_of(0.13, 0.11, 0.12),
        rgb_of(0.95, 0.80, 0.48),
        rgb_of(0.43, 0.26, 0.14),
        rgb_of(0.76, 0.76, 0.78),
    )
    named = sum(shares)[:, None]
    hair = sum(share[:, None] * colour for share, colour in zip(shares, colours)) + (
        named == 0
    ) * rgb_of(0.66, 0.29, 0.12)
    f.hair_lit = hair / np.maximum(named, 1) * (0.8 + 0.3 * f.hair_shade[:, None])
    f.hair_dark = f.hair_lit * rgb_of(0.45, 0.40, 0.38)
    f.whiskers = f.hair_dark * (1 - 0.7 * tone)  # brows and beard stand out from dark skin too
    return f


def _behind(f) -> None:
    """Shoulders, the hair that falls behind, neck and ears."""
    cloth = rgb_of(f.cloth_red, f.cloth_green, f.cloth_blue)
    fold = np.clip(0.85 + 0.25 * f.light_x * f.u - 0.12 * np.clip(f.v - 1.9, 0, 1), 0.4, 1.1)
    paint(
        f.rgb,
        cover(f, ellipse(f.u, f.v - 2.68, 1.75 + 0.3 * f.Male, 1.15, 0.8)),
        cloth * fold[:, None],
    )

    f.hair_a, f.hair_b = 1.08 + 0.14 * f.hair_volume, 1.16 + 0.12 * f.hair_volume
    sway = 0.07 * f.Wavy_Hair
    u = f.u + 0.1 * f.yaw
    f.hair_u = u + sway * wave(1.3 * f.v + f.wave_phase)
    f.hair_v = f.v + sway * wave(1.25 * u + f.wave_phase) + 0.38
    streak = wave(
        2.6 * f.hair_u
        + (0.05 + 0.12 * f.Wavy_Hair) * wave(1.3 * f.v + f.wave_phase + 0.3)
        + f.wave_phase
    )
    glow = np.clip(1 - 9 * np.square(f.v + 1.05 + 0.25 * f.u * f.u), 0, 1)
    lit = 0.55 + 0.22 * streak + f.light * (0.6 * f.u * f.light_x - 0.3 * f.v * f.light_y)
    lit = np.clip(lit + 0.3 * glow - 0.1 * np.clip(f.v, 0, 2), 0.05, 1.2)
    f.hair = mix(f.hair_dark, f.hair_lit, lit[:, None])
    below = np.float32(f.hair_v > 0)
    end = mix(1.15 + 1.7 * f.hair_length, 0.55 + 0.25 * f.hair_length, f.Male)
    back = ellipse(
        f.hair_u, f.hair_v, f.hair_a + 0.06 - 0.12 * f.Male, mix(f.hair_b, end, below), 0.8 * below
    )
    paint(f.rgb, cover(f, back) * (1 - f.Bald), 0.72 * f.hair)

    rgb, u, v = window(f, 0, 1.4, 1.0, 0.9)
    neck = cover(
        f,
        np.maximum(np.abs(u - 0.15 * f.yaw) - 0.44 - 0.14 * f.Male, ellipse(u, v + 0.4, 0.8, 1.15)),
    )
    lit = np.clip(0.25 + 0.9 * (v + 0.05) + 0.5 * f.light_x * u, 0.1, 0.85)
    paint(rgb, neck, mix(f.skin_dark, f.skin_lit, lit[:, None]))
    rgb, u, v = window(f, 0, 0.05, 1.5, 0.5)
    ears = cover(f, ellipse(np.abs(u + 0.25 * f.yaw) - 1.0, v + 0.2 * f.pitch, 0.15, 0.27))
    paint(rgb, ears, mix(f.skin_dark, f.skin_lit, 0.65))


def _head(f) -> None:
    """The head's skin, shaded as a round body."""
    v = f.v + 0.1
    below = np.float32(v > 0)
    a, b = (0.94 + 0.04 * f.Male) * f.width, mix(1.2, 1.4 * f.length, below)
    f.head = cover(
        f, ellipse(f.u, v, a, b, mix(0.2, 0.05 + 0.5 * f.Male, below))
    )  # a man's jaw is squarer
    p, q = f.u / a, v / b
    towards = p * f.light_x + q * f.light_y + np.sqrt(np.clip(1 - p * p - q * q, 0, 1)) * f.light_z
    lit = np.clip(1 + 1.25 * f.light * (towards - 1), 0, 1.08)
    paint(f.rgb, f.head, mix(f.skin_dark, f.skin_lit, lit[:, None]))
    rgb, u, v = window(f, f.yaw * 0.75, 0.36 + 0.75 * f.pitch, 1.0, 0.4)
    narrow = 1 - 0.5 * np.where(u < 0, np.float32(-1), np.float32(1)) * f.yaw
    cheeks = bump(np.abs(u) - 0.52 * narrow, v, 0.36 * narrow, 0.32) * (
        0.08 + 0.32 * f.Heavy_Makeup
    )
    paint(rgb, cheeks, f.skin_lit * rgb_of(0.95, 0.55, 0.55))


def _age(f) -> None:
    """What is not young: folds beside the mouth, lines on the forehead, bags under the eyes."""
    rgb, u, v = window(f, 0.85 * f.yaw, 0.6 + 0.85 * f.pitch, 0.7, 0.4)
    fold = np.clip(1 - np.abs(np.abs(u) - 0.36 - 0.35 * v) * 11, 0, 1) * np.clip(
        1 - np.square(v / 0.36), 0, 1
    )
    paint(rgb, 0.45 * fold, f.skin_dark)
    rgb, u, v = window(f, 0.75 * f.yaw, -0.68 + 0.75 * f.pitch, 0.6, 0.3)
    lines = np.clip(wave(4.6 * (v + 0.1 * u * u)) - 0.35, 0, 1) * np.clip(
        1 - np.square(u / 0.55), 0, 1
    )
    paint(rgb, 0.6 * lines * np.clip(1 - np.square(v / 0.28), 0, 1), f.skin_dark)
    rgb, u, v = window(f, 0.8 * f.yaw, 0.12 + 0.8 * f.pitch, 0.8, 0.2)
    bag = bump(np.abs(u) - 0.42, v, 0.26, 0.12)
    paint(rgb, 0.5 * bag, f.skin_dark)


def _nose(f) -> None:
    size = 1 + 0.5 * f.Big_Nose
    rgb, u, v = window(f, 1.05 * f.yaw, 0.2 + 1.05 * f.pitch, 0.5, 0.6)
    side = np.clip(4 * u, -1, 1)
    ridge = u + 0.25 * f.yaw * (v + 0.3)  # the bridge starts nearer to the head's axis than the tip
    paint(
        rgb,
        bump(np.abs(ridge) - 0.13 * size, v + 0.05, 0.11 * size, 0.42)
        * (0.3 - 0.3 * side * f.light_x),
        f.skin_dark,
    )
    paint(rgb, bump(ridge, v, 0.10 * size, 0.40) * 0.30, f.skin_lit * 0.5 + 0.55)
    paint(rgb, bump(u, v - 0.26, 0.25 * size, 0.12 * size) * 0.55, f.skin_dark)
    paint(rgb, bump(u, v - 0.13, 0.20 * size, 0.15 * size) * 0.75, f.skin_lit)
    paint(rgb, bump(u + 0.05 * f.light_x, v - 0.11, 0.09, 0.09) * 0.5, rgb_of(1, 0.97, 0.95))
    paint(
        rgb,
        bump(np.abs(u) - 0.10 * size, v - 0.16 - 0.08 * size, 0.07 * size, 0.055 * size) * 0.8,
        f.skin_dark * 0.5,
    )


def _eyes(f) -> None:
    """Eyes and brows; the side turned away is narrower."""
    rgb, u, v = window(f, 0.8 * f.yaw, -0.28 + 0.8 * f.pitch, 0.95, 0.48)
    side = np.where(u < 0, np.float32(-1), np.float32(1))
    narrow = 1 - 0.4 * side * f.yaw
    e = (u * side - 0.43 * narrow) / narrow  # from the eye's middle outwards
    v = v - 0.16  # from the eye's middle down
    w = 0.23 * f.eyes
    h = (0.135 - 0.075 * f.Narrow_Eyes) * f.eyes
    arch = np.clip(1 - np.square(e / w), 0, 1)
    paint(rgb, bump(e + 0.03, v + 0.03, 0.40, 0.30) * 0.30, f.skin_dark)
    shadow = mix(rgb_of(0.42, 0.16, 0.42), rgb_of(0.20, 0.28, 0.50), f.tint[:, None])
    paint(rgb, bump(e, v + 0.10, 0.34, 0.24) * 0.85 * f.Heavy_Makeup, shadow)
    upper, lower = v + h * arch, v - 0.75 * h * arch
    white = cover(f, np.maximum(-upper, lower)) * (arch > 0)
    paint(
        rgb,
        white,
        rgb_of(0.93, 0.92, 0.91) * (0.55 + 0.42 * np.clip(0.6 + upper / 0.2, 0, 1))[:, None],
    )
    iris = np.square(e - f.gaze * side) + np.square(v + 0.01)
    colour = mix(mix(rgb_of(0.22, 0.12, 0.06), rgb_of(0.30, 0.38, 0.22), np.clip(2 * f.iris - 0.5, 0, 1)[:, None]),
                 rgb_of(0.28, 0.45, 0.62), np.clip(3 * f.iris - 2, 0, 1)[:, None])  # fmt: skip
    disc = 0.115 * f.eyes
    paint(rgb, white * np.clip((disc - np.sqrt(iris)) * 16 + 0.5, 0, 1), colour)
    paint(rgb, white * np.clip((0.055 - np.sqrt(iris)) * 14 + 0.5, 0, 1), rgb_of(0.04, 0.03, 0.03))
    lash = (
        np.clip(1 - np.abs(upper + 0.01) * (16 - 7 * f.Heavy_Makeup), 0, 1)
        * np.clip(1.25 - np.abs(e / w), 0, 0.3)
        * 3.3
    )
    paint(rgb, lash * (0.65 + 0.3 * f.Heavy_Makeup), rgb_of(0.10, 0.06, 0.05))
    paint(rgb, np.clip(1 - np.abs(lower) * 18, 0, 1) * arch * 0.35, f.skin_dark * 0.7)
    paint(
        rgb, bump(e * side - 0.035 * f.light_x - f.gaze, v + 0.045, 0.055, 0.055), rgb_of(1, 1, 1)
    )

    x = (e - 0.01) / 0.34  # -1 at the brow's inner end, 1 at its outer end
    along = np.clip(1 - np.square(x), 0, 1)
    height = (
        0.30
        + f.brows
        + 0.04 * side * f.crooked
        + (0.01 + 0.14 * f.Arched_Eyebrows) * (along - 0.35 + 0.25 * x)
    )
    thick = (0.038 + 0.042 * f.Bushy_Eyebrows) * (0.55 + 0.45 * along) * (1 - 0.25 * x)
    brow = cover(f, np.abs(v + height) - thick, 1.6) * np.clip(4 * along, 0, 1)
    paint(rgb, brow * (0.72 + 0.2 * f.Bushy_Eyebrows), 0.75 * f.whiskers + 0.05)


def _mouth(f) -> None:
    smile = f.Smiling * (0.6 + 0.4 * f.smile)
    w = (0.34 + 0.10 * smile) * f.mouth
    rgb, u, v = window(f, 0.92 * f.yaw, 0.78 + 0.92 * f.pitch, 0.62, 0.42)
    v = v - 0.07 * f.crooked * u
    x2 = np.square(u / w)
    arch = np.clip(1 - x2, 0, 1)
    v = v - (0.03 + 0.17 * smile) * (0.45 - x2) + 0.02  # the corners of a smile go up
    opening = f.Mouth_Slightly_Open * (0.065 + 0.05 * f.open) * arch
    up = (
        (0.075 + 0.02 * f.Wearing_Lipstick)
        * (arch + 0.1)
        * (0.86 + 0.9 * np.clip(np.abs(u) * 3, 0, 0.18))
    )
    down = (0.10 + 0.025 * f.Wearing_Lipstick) * (arch + 0.02)
    paint(rgb, bump(u, v - 0.22, 0.26, 0.09) * 0.35, f.skin_dark)
    lips = cover(f, np.maximum(-v - opening - up, v - opening - down)) * np.clip(
        8 * (1.06 - np.sqrt(x2)), 0, 1
    )
    bare = f.skin_lit * rgb_of(0.82, 0.55, 0.54)
    red = mix(rgb_of(0.78, 0.06, 0.14), rgb_of(0.62, 0.08, 0.30), f.tint[:, None])
    colour = mix(bare, red, 0.9 * f.Wearing_Lipstick[:, None])
    paint(rgb, lips, colour * (0.72 + 0.28 * np.clip(0.5 + v * 9, 0, 1.2))[:, None])
    shine = bump(u + 0.1 * f.light_x, v - opening - 0.045, 0.14, 0.03)
    paint(rgb, shine * (0.35 + 0.4 * f.Wearing_Lipstick), rgb_of(1, 0.92, 0.9))
    inside = cover(f, np.abs(v) - opening) * (arch > 0) * f.Mouth_Slightly_Open
    paint(rgb, inside, rgb_of(0.20, 0.04, 0.05))
    paint(
        rgb,
        inside * np.clip((0.015 - v) * 24, 0, 1) * np.clip(1.6 - 1.6 * x2, 0, 1),
        rgb_of(0.93, 0.91, 0.87),
    )
    seam = (
        np.clip(1 - np.abs(v) * 24, 0, 1)
        * np.clip(6 * (1.08 - np.sqrt(x2)), 0, 1)
        * (1 - f.Mouth_Slightly_Open)
    )
    paint(rgb, 0.75 * seam, f.skin_dark * 0.45)
    paint(rgb, bump(np.abs(u) - w, v, 0.07, 0.06) * 0.5, f.skin_dark)


def _beard(f) -> None:
    """Whiskers along the jaw, from stubble to full."""
    grain = 0.85 + 0.15 * wave(3.1 * f.u + 0.4 * wave(2.3 * f.v + f.wave_phase))
    open_face = ellipse(f.u - 0.6 * f.yaw, f.v - 0.25 - 0.6 * f.pitch, 0.80, 0.86)
    jaw = np.clip(0.5 + open_face * 5, 0, 1) * np.clip((f.v - 0.05) * 4, 0, 1) * f.head
    paint(f.rgb, jaw * grain * (0.45 + 0.5 * f.beard), f.whiskers)


def _goatee(f) -> None:
    rgb, u, v = window(f, 0.9 * f.yaw, 1.12 + 0.9 * f.pitch, 0.4, 0.45)
    paint(rgb, np.clip(0.5 - ellipse(u, v, 0.27, 0.24, 0.3) * 9, 0, 1) * 0.92, 0.9 * f.whiskers)


def _mustache(f) -> None:
    rgb, u, v = window(f, 0.98 * f.yaw, 0.62 + 0.98 * f.pitch, 0.55, 0.3)
    lobe = np.abs(v - 0.45 * u * u - 0.02) - 0.075 * np.clip(1.15 - np.square(u / 0.40), 0, 1)
    paint(
        rgb,
        np.clip(0.4 - lobe * 11, 0, 1) * np.clip(6 - 14 * np.abs(u), 0, 1) * 0.92,
        0.9 * f.whiskers,
    )


def _hair(f) -> None:
    """The hair in front: what lies within its outline and above the hairline."""
    u, v = f.u - 0.55 * f.yaw, f.v - 0.45 * f.pitch
    u2, from_parting = u * u, np.square(u - f.parting)
    line = (
        v
        + 0.98
        - mix(0.62 * from_parting + 0.35 * u2 * u2, 0.10 * from_parting + 0.30 * u2 * u2, f.Male)
    )
    fringe = (
        v
        + 0.50
        + 0.045 * wave(1.6 * u + f.wave_phase)
        - 0.35 * u2
        + 0.1 * f.Wavy_Hair * wave(1.3 * u)
    )
    line = mix(line, np.minimum(line, fringe), f.Bangs)
    cap = ellipse(
        f.hair_u,
        f.hair_v,
        f.hair_a,
        mix(f.hair_b, 1.3 + 0.6 * f.hair_length, np.float32(f.hair_v > 0)),
    )
    cap = mix(cap, np.maximum(cap, v - 0.15), f.Male)  # down to the ears
    paint(
        f.rgb,
        cover(f, np.maximum(line - 0.14, cap), 5.0) * f.head * (0.35 - 0.35 * f.Bald),
        f.skin_dark,
    )  # its shadow
    paint(f.rgb, cover(f, np.maximum(line, cap)) * (1 - f.Bald), f.hair)


def _glasses(f) -> None:
    rgb, u, v = window(f, 0.85 * f.yaw, -0.1 + 0.85 * f.pitch, 1.2, 0.45)
    side = np.where(u < 0, np.float32(-1), np.float32(1))
    narrow = 1 - 0.35 * side * f.yaw
    e = (u * side - 0.43 * narrow) / narrow
    rim = ellipse(e, v, 0.33, 0.27, 0.5)
    colour = mix(rgb_of(0.06, 0.06, 0.08), rgb_of(0.42, 0.24, 0.10), f.frame[:, None])
    paint(rgb, cover(f, rim) * 0.18, rgb_of(0.75, 0.85, 0.95))
    paint(rgb, cover(f, np.abs(rim) - 0.035), colour)
    paint(
        rgb, cover(f, np.maximum(np.abs(v + 0.06 - 0.1 * u * u) - 0.03, np.abs(u) - 0.13)), colour
    )
    paint(rgb, cover(f, np.maximum(np.abs(v + 0.06) - 0.03, np.abs(e - 0.43) - 0.13)), colour)
    paint(rgb, bump(e - 0.10, v + 0.12 + 0.5 * (e - 0.1), 0.16, 0.05) * 0.55, rgb_of(1, 1, 1))


def _hat(f) -> None:
    """A crown and a brim."""
    cloth = rgb_of(f.hat_red, f.hat_green, f.hat_blue)
    u, v = f.u - 0.1 * f.yaw, f.v + 0.66 - 0.3 * f.pitch - 0.10 * f.u * f.u
    crown = np.maximum(ellipse(u, v, 1.16 + 0.06 * f.hair_volume, 1.12), v)
    lit = np.clip(
        0.62 + 0.5 * f.light * (u * f.light_x + 0.9) - 0.2 * np.square(u) + 0.06 * wave(2.2 * u),
        0.3,
        1.1,
    )
    paint(f.rgb, bump(u, v, 1.15, 0.45) * f.head * 0.7 * (v > 0), f.skin_dark)
    paint(f.rgb, cover(f, crown), cloth * lit[:, None])
    paint(f.rgb, cover(f, np.maximum(crown, np.abs(v + 0.20) - 0.13)), cloth * 0.45)
    paint(
        f.rgb,
        cover(f, ellipse(u, v, 1.22 + 0.4 * f.brim, 0.13 + 0.05 * f.brim)),
        cloth * (0.8 * lit)[:, None],
    )
