"""The pencil of the street scenes: a pinhole camera that paints flat textures into a map of parts.

Nothing here knows classes or chance. Arithmetic is on integers, or + − × ÷, comparison and truncation in float64, which
IEEE 754 fixes to the last bit (unlike sin or exp): a picture is the same on every platform and in every numpy.

Two habits are for speed. Indices are intp before they reach `take`, which is ten times slower with any other type; and
the loops over parts run in Python on plain floats, since a numpy call costs as much as twenty of their operations.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np

SUPERSAMPLING = 2
"""Samples per pixel along one side: the parts are drawn this much larger, the image averages them."""

FOCAL = 1.05
"""Focal length by the height of the picture."""

Paint = tuple[float, float, float, float, float, float, float]


def paint(
    colour: Sequence[float], shade: float = 1.0, grain: float = 0.0, haze: float = 0.0, glows: float = 0.0
) -> Paint:
    """How one part looks.

    Args:
        colour: red, green and blue, 0…255.
        shade: factor on the colour; 1 lit, less on a side away from the light.
        grain: amplitude of the surface's texture, 0…255.
        haze: 0 near … 1 as far as one sees.
        glows: 1 for a lamp, the sky or a lit window, which the light of the day does not change.
    """
    red, green, blue = colour
    return red, green, blue, shade, grain, haze, glows


def _disc() -> np.ndarray:
    across = np.arange(-31, 32) / 31.5
    return (np.add.outer(across * across, across * across) <= 1).astype(np.uint16)


DISC = _disc()


class Street:
    """A map of parts, seen by a camera that looks along the street.

    World coordinates are metres: X to the right of the camera, Z ahead of it, h above the ground. Every picture is made
    of the same few moves, far things first: `front` puts a texture in a plane that faces the camera, `side` in a plane
    along the street, `tops` fills surfaces that are seen from above, `ground` and `box` do the rest.

    Args:
        size: height and width of the image, pixels.
        horizon: share of the image's height above the horizon.
        vanishing: share of the width left of the vanishing point.
        camera: height of the camera, metres.
    """

    def __init__(self, size: tuple[int, int], horizon: float, vanishing: float, camera: float):
        self.height, self.width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
        self.parts = np.zeros((self.height, self.width), np.uint16)
        self.x, self.y = np.arange(self.width) + 0.5, np.arange(self.height) + 0.5
        self.horizon, self.vanishing, self.camera = horizon * self.height, vanishing * self.width, camera
        self.first_row = _span(self.horizon, self.horizon, self.height)[0]  # of the ground
        self.focal = FOCAL * self.height
        self.ground_parts = 0
        self.paints = array("d")
        self.owners = bytearray()

    def add(self, paints: Sequence[Paint], owners: int | Sequence[int]) -> int:
        """Take in the paints of the codes 1, 2, … of a texture; gives the base to which the codes are added.

        Args:
            paints: one a code.
            owners: to whom the parts belong, one for all or one each.
        """
        base = len(self.owners) - 1
        for numbers in paints:
            self.paints.extend(numbers)
        self.owners.extend([owners] * len(paints) if isinstance(owners, int) else owners)
        return base

    def project(self, x: float, h: float, z: float) -> tuple[float, float]:
        """Where in the picture (samples) a point of the world is seen."""
        scale = self.focal / z
        return self.vanishing + x * scale, self.horizon + (self.camera - h) * scale

    def nearest(self) -> float:
        """Distance of the ground at the lower edge of the picture, metres."""
        return self.focal * self.camera / (self.height - self.horizon)

    @staticmethod
    def distance(size: tuple[int, int], samples: float) -> float:
        """How far away a metre is as long as so many samples."""
        return FOCAL * size[0] * SUPERSAMPLING / samples

    def in_view(self, x0: float, x1: float, z: float) -> bool:
        """Whether anything between x0 and x1 at distance z is inside the picture's left and right edge."""
        scale = self.focal / z
        return self.vanishing + x1 * scale > 0 and self.vanishing + x0 * scale < self.width

    def box(self, part: int, x0: float, y0: float, x1: float, y1: float) -> None:
        """Fill a rectangle of the picture (samples) with one part."""
        left, right = _span(x0, x1, self.width)
        top, bottom = _span(y0, y1, self.height)
        self.parts[top:bottom, left:right] = part

    def paste(self, texture: np.ndarray, base: int, x0: float, y0: float, x1: float, y1: float) -> None:
        """Scale a texture into a rectangle of the picture (samples); code 0 stays clear."""
        left, right = _span(x0, x1, self.width)
        top, bottom = _span(y0, y1, self.height)
        if left < right and top < bottom:
            patch = self._scaled(texture, (left, right, x0, x1), (top, bottom, y0, y1))
            np.copyto(self.parts[top:bottom, left:right], patch + np.uint16(base), where=patch != 0)

    def _scaled(
        self, texture: np.ndarray, across: tuple[int, int, float, float], down: tuple[int, int, float, float]
    ) -> np.ndarray:
        """A texture that is stretched over (low, high), as the samples (first, end) see it: for columns and for rows."""
        (left, right, x0, x1), (top, bottom, y0, y1) = across, down
        tall, wide = texture.shape
        rows = ((self.y[top:bottom] - y0) * (tall / (y1 - y0))).astype(np.intp)
        columns = ((self.x[left:right] - x0) * (wide / (x1 - x0))).astype(np.intp)
        return texture.take(rows, 0, mode="clip").take(columns, 1, mode="clip")

    def front(self, texture: np.ndarray, base: int, x0: float, x1: float, z: float, h0: float, h1: float) -> None:
        """A texture facing the camera at distance z, from x0 to x1 and from height h0 to h1."""
        left, top = self.project(x0, h1, z)
        right, bottom = self.project(x1, h0, z)
        self.paste(texture, base, left, top, right, bottom)

    def side(self, texture: np.ndarray, base: int, x: float, z0: float, z1: float, h0: float, h1: float) -> None:
        """A texture in the plane X = x along the street; its left edge is at z0, its right edge at z1 (> z0).

        The texture has one clear row more at its top and at its bottom: what lies above or below the plane takes those.
        """
        near, top0 = self.project(x, h1, z0)
        far, top1 = self.project(x, h1, z1)
        bottom = max(self.project(x, h0, z0)[1], self.project(x, h0, z1)[1])
        left, right = _span(min(near, far), max(near, far), self.width)
        top, bottom = _span(min(top0, top1), bottom, self.height)
        if left >= right or top >= bottom:
            return
        last, wide = texture.shape[0] - 1, texture.shape[1]
        texels = (last - 1) / (h1 - h0)
        z = (self.focal * x) / (self.x[left:right] - self.vanishing)
        columns = ((z - z0) * (wide / (z1 - z0))).astype(np.intp)
        np.minimum(np.maximum(columns, 0, out=columns), wide - 1, out=columns)
        z *= texels / self.focal
        rows = np.multiply.outer(self.y[top:bottom] - self.horizon, z)
        rows += (h1 - self.camera) * texels + 1
        rows = rows.astype(np.intp)
        np.minimum(np.maximum(rows, 0, out=rows), last, out=rows)
        rows *= wide
        rows += columns
        patch = texture.ravel().take(rows)
        np.copyto(self.parts[top:bottom, left:right], patch + np.uint16(base), where=patch != 0)

    def tops(self, profile: Sequence[tuple[float, float, int, int]], base: int, x0: float, x1: float, z: float) -> None:
        """What is seen from above of a body whose profile along the street is the same from x0 to x1.

        Args:
            profile: (metres beyond z, height, code, inner code) from the near end to the far one; the codes are those
                of the surface from that point to the next. The inner one keeps clear of its edges, as a window does.
            base: of the codes.
            x0: left edge, metres.
            x1: right edge, metres.
            z: distance of the near end, metres.
        """
        focal, horizon, camera = self.focal, self.horizon, self.camera
        along, height, outer, inner = profile[0]
        scale0 = focal / (z + along)
        y0 = lowest = horizon + (camera - height) * scale0
        strips, counts, windowed = [], [], False  # from the lowest strip upwards
        for along, height, next_outer, next_inner in profile[1:]:
            scale1 = focal / (z + along)
            y1 = horizon + (camera - height) * scale1
            if y1 < lowest:  # else this surface leans away, or is hidden by a nearer one
                slope = (scale1 - scale0) / (y1 - y0)
                for end, code in ((0.12, outer), (0.86, inner), (1.0, outer)) if inner != outer else ((1.0, outer),):
                    y = min(y0 + (y1 - y0) * end, lowest)
                    top, bottom = _span(y, lowest, self.height)
                    if top < bottom:
                        strips.append((scale0 - slope * y0, slope, outer, code))
                        counts.append(bottom - top)
                        windowed |= code != outer
                        lowest = y
            y0, scale0, outer, inner = y1, scale1, next_outer, next_inner
        if not strips:
            return
        near, far = focal / (z + profile[0][0]), scale0
        left = _span(self.vanishing + min(x0 * near, x0 * far), self.width, self.width)[0]
        right = _span(self.vanishing + max(x1 * near, x1 * far), self.width, self.width)[0]
        top = _span(lowest, lowest, self.height)[0]
        if left >= right:
            return
        rows = np.array(strips[::-1]).repeat(counts[::-1], axis=0)
        scale = (rows[:, 0] + rows[:, 1] * self.y[top : top + len(rows)])[:, None]
        x = self.x[left:right]
        x0_at, x1_at = x0 * scale + self.vanishing, x1 * scale + self.vanishing
        inside = (x >= x0_at) & (x < x1_at)
        codes = (rows[:, 2:] + base).astype(np.uint16)
        region = self.parts[top : top + len(rows), left:right]
        np.copyto(region, codes[:, :1], where=inside)
        if windowed:
            inset = scale * ((x1 - x0) * 0.08)
            np.copyto(region, codes[:, 1:], where=(x >= x0_at + inset) & (x < x1_at - inset))

    def ground(self, profiles: np.ndarray, texel: float, kinds: Callable[[np.ndarray], np.ndarray], bands: int) -> None:
        """Paint everything below the horizon, with all the paints there are so far.

        Args:
            profiles: (kinds, texels) codes 0, 1, … across the street, the middle at X = 0.
            texel: metres.
            kinds: function of the distances (rows,) that says which profile each row shows, intp.
            bands: the paints come in so many bands of equal length, the furthest first.
        """
        self.ground_parts = len(self.owners)
        step = self.ground_parts // bands
        top = self.first_row
        below = self.y[top:] - self.horizon
        z = self.focal * self.camera / below
        wide = profiles.shape[1]
        index = np.multiply.outer(z, (self.x - self.vanishing) * (1 / (self.focal * texel)))
        index += wide // 2
        index = index.astype(np.intp)
        np.minimum(np.maximum(index, 0, out=index), wide - 1, out=index)
        index += (kinds(z) * wide)[:, None]
        band = (below * (bands / (self.height - self.horizon))).astype(np.intp)
        offset = (step * np.minimum(band, bands - 1)).astype(np.uint16)
        np.add(profiles.ravel().take(index), offset[:, None], out=self.parts[top:])

    def shadow(self, x: float, z: float, half_width: float, half_depth: float) -> None:
        """Darken an ellipse of the ground. Its parts come in pairs: even ones in the light, each next one in shadow."""
        x0, y0 = self.project(x - half_width, 0, z)[0], self.project(x, 0, z + half_depth)[1]
        x1, y1 = self.project(x + half_width, 0, z)[0], self.project(x, 0, z - half_depth)[1]
        left, right = _span(x0, x1, self.width)
        top, bottom = _span(y0, y1, self.height)
        if left < right and top < bottom:
            region = self.parts[top:bottom, left:right]
            ellipse = self._scaled(DISC, (left, right, x0, x1), (top, bottom, y0, y1))
            ellipse &= region < self.ground_parts  # not on houses, whose parts don't come in pairs
            region |= ellipse

    def cover(self, owners: np.ndarray, behind: np.ndarray) -> None:
        """Let `behind`, an earlier copy of the parts, show again wherever one of the owners is seen."""
        covered = np.zeros(256, bool)
        covered[owners] = True
        covered = covered.take(np.frombuffer(self.owners, np.uint8).astype(np.intp))
        np.copyto(self.parts, behind, where=covered.take(self.parts.astype(np.intp)))

    def owner_map(self) -> np.ndarray:
        """uint8 (H, W): whose part each pixel shows, by the same sample of the 2×2 for every pixel."""
        return np.frombuffer(self.owners, np.uint8).take(self.parts[1::2, 1::2].astype(np.intp))

    def render(self, light: Sequence[float], haze: Sequence[float], noise: np.ndarray) -> np.ndarray:
        """The picture, int16 (3, H, W), not yet clipped to 0…255.

        Args:
            light: factor on red, green and blue of everything that doesn't glow.
            haze: colour into which far things fade.
            noise: int16 (H, W), −128…127: the grain of the surfaces, scaled for each by its paint.
        """
        table = np.frombuffer(self.paints).reshape(-1, 7)
        shade, grain, far, glows = table[:, 3:].T
        lit = table[:, :3] * np.where(glows[:, None] > 0, 1.0, np.array(light))
        lit *= shade[:, None]
        lit += (np.array(haze) - lit) * far[:, None]
        lanes = np.empty((len(table), 4), "<u2")  # red, green, blue, grain side by side: one sum adds all four
        lanes[:, :3] = np.minimum(np.maximum(lit, 0), 255) * 16
        lanes[:, 3] = grain * 16
        samples = lanes.view("<u8").ravel().take(self.parts.astype(np.intp))
        rows = samples[0::2] + samples[1::2]
        total = (rows[:, 0::2] + rows[:, 1::2]).astype("<u8", copy=False).view("<i2")  # at most 4 · 255 · 16 a lane
        planes = np.ascontiguousarray(total.reshape(*rows.shape[:1], -1, 4).transpose(2, 0, 1))
        planes >>= 6
        planes[3] *= noise
        planes[3] >>= 7
        image = planes[:3]
        image += planes[3]
        return image


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    """The samples 0 … limit − 1 whose centres lie in low … high, as a half-open range."""
    first = int(low + 0.5) if low > 0 else 0
    end = int(high + 0.5) if high > 0 else 0
    return min(first, limit), min(end, limit)
