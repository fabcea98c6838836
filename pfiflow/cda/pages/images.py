"""Images made fit for PDF/A-1: no transparency, sRGB or grey only, and never a decompression bomb.

PDF/A-1 (ISO 19005-1 §6.4, §6.2.3) forbids soft masks and colour spaces that the output intent does not cover: an
image with transparency is laid on white, CMYK and profiled images are converted to sRGB. A plain JPEG goes in as it is.
"""

from __future__ import annotations

import binascii
import io
from typing import TYPE_CHECKING

import pybase64
from attrs import frozen

from pfiflow.errors import Problem, Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image as PillowImage

__all__ = ["MAX_FRAMES", "MAX_PIXELS", "Image", "decode_base64", "read_images"]

MAX_PIXELS = 40_000_000
"""Most pixels of one image: an A4 page at 600 dpi has 35 million."""
MAX_TOTAL_PIXELS = 200_000_000
"""Most pixels of one multi-page file: twenty such pages at 300 dpi."""
MAX_FRAMES = 100
"""Most pages of one TIFF."""

_MEDIA_TYPES = frozenset({"image/jpeg", "image/jpg", "image/png", "image/gif", "image/tiff"})
_FORMATS = ("JPEG", "PNG", "GIF", "TIFF")
_RULE = "PDF/A-1: ISO 19005-1"


@frozen
class Image:
    """One image, ready to embed: `data` is JPEG (grey or RGB, no profile) or PNG (black and white, grey or RGB)."""

    data: bytes
    width: int  # pixels
    height: int


def decode_base64(text: str, where: str) -> bytes:
    """Bytes of a `representation="B64"` value; white space between the characters is allowed (RFC 2045).

    Raises:
        Rejected: not base64, cut short or empty; `where` is said, the content never.
    """
    try:
        data = pybase64.b64decode(text, validate=True)  # several times as fast, and nearly always enough
    except ValueError:
        data = _decode_spaced(text)
    if not data:
        raise Rejected(
            Problem(
                "102",
                f"the content is not valid base64 or is empty ({len(text)} characters): the sender has cut or "
                "re-encoded it; ask for the document again",
                location=where,
                rule="CDA R2 ED, representation B64",
            )
        )
    return data


def _decode_spaced(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()).encode("ascii"), strict_mode=True)
    except ValueError:
        return b""


def read_images(data: bytes, media_type: str, where: str) -> tuple[Image, ...]:
    """Every page of an image file, ready to embed.

    Args:
        data: a JPEG, PNG, GIF (first picture) or TIFF (every page) file.
        media_type: what the CDA says that it is; the file itself decides (an official example has a PNG as image/jpeg).
        where: XPath of the value, for the errors.

    Raises:
        Rejected: unknown type, damaged, larger than `MAX_PIXELS`, more than `MAX_FRAMES` pages.
    """
    from PIL import Image as Pillow

    if media_type not in _MEDIA_TYPES:
        raise _refused("103", f"an image of type {media_type[:60]} cannot be shown: send JPEG, PNG, GIF or TIFF", where)
    try:
        return tuple(_pages(Pillow.open(io.BytesIO(data), formats=_FORMATS), data, where))
    except Rejected:
        raise
    except Exception as error:  # noqa: BLE001 - on a damaged file Pillow raises OSError, SyntaxError, struct.error…
        raise _refused(
            "102",
            f"the image is damaged or is no JPEG, PNG, GIF or TIFF ({type(error).__name__}): send it again",
            where,
        ) from None


def _refused(code: str, message: str, where: str) -> Rejected:
    return Rejected(Problem(code, message, location=where, rule=_RULE))


def _pages(image: PillowImage, data: bytes, where: str) -> Iterator[Image]:
    frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if frames > MAX_FRAMES:
        raise _refused("207", f"the image has {frames} pages, more than {MAX_FRAMES}", where)
    total = 0
    for frame in range(frames):
        image.seek(frame)
        pixels = image.width * image.height
        total += pixels
        if pixels > MAX_PIXELS or total > MAX_TOTAL_PIXELS:
            raise _refused("207", f"the image has more than {MAX_PIXELS} pixels a page", where)
        yield _page(image, data)


def _page(image: PillowImage, data: bytes) -> Image:
    from PIL import ImageOps

    as_it_is = image.format == "JPEG" and image.mode in {"L", "RGB"} and "icc_profile" not in image.info
    if as_it_is and image.getexif().get(0x0112, 1) == 1:
        image.load()  # proves that the whole file can be read
        return Image(data, image.width, image.height)
    page = _opaque(ImageOps.exif_transpose(image))
    page.info = {}
    buffer = io.BytesIO()
    page.save(buffer, "PNG", compress_level=1)  # only to carry the pixels: fpdf2 compresses them again
    return Image(buffer.getvalue(), page.width, page.height)


def _opaque(image: PillowImage) -> PillowImage:
    """The image in mode 1, L or RGB (sRGB), over white where it was transparent."""
    from PIL import Image as Pillow

    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        low, high = (float(bound) for bound in image.convert("F").getextrema())  # type: ignore[arg-type]
        scale = 255 / (high - low) if high > low else 0
        return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"}:
        image = image.convert("RGBA")
        white = Pillow.new("RGBA", image.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, image).convert("RGB")
    if image.mode in {"1", "L"}:
        return image.copy()
    return _to_srgb(image)


def _to_srgb(image: PillowImage) -> PillowImage:
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except ImageCms.PyCMSError:
            pass  # a broken profile: the plain conversion is what every viewer does
    return image.convert("RGB")
