"""Decoding, cropping and resizing of images with Pillow, exactly as in the published loaders.

Resizing is Pillow's bicubic with antialiasing on uint8 RGB; sizes follow torchvision's `Resize` and
`CenterCrop`. `normalize` is the NumPy reference of `Encoder.normalize`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32, Integer, UInt8
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from jaxpart.data.resizing import opencv
from jaxpart.errors import JaxpartError

Box = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels, as Pillow's `crop` takes it."""

Pixels = UInt8[np.ndarray, "size size 3"]

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2",
    ".apng", ".avifs", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc", ".fli", ".ftc",
    ".ftu", ".gbr", ".icb", ".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jpc", ".jpe",
    ".jpf", ".jpx", ".blp", ".mpo", ".msp", ".pbm", ".pcd", ".pcx", ".pfm", ".pgm", ".pnm", ".ppm",
    ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".vda", ".vst", ".xbm", ".xpm",
)  # fmt: skip
"""Suffixes of image files, case-insensitive: all that Pillow opens, except `NOT_READ`."""

NOT_READ = ("EPS", "WMF", "IPTC", "MPEG", "BUFR", "GRIB", "HDF5")
"""Formats that are never opened: Pillow runs an external program for them, opens what they hold in any
format (IPTC), or has no decoder."""

MAX_PIXELS = 2**28
"""Limit for the pixels of an image (268 million): 0.8 GB as RGB."""

_COMMON = ("JPEG", "PNG")
_SCALED_GREYS = {"L;2": 3, "L;4": 15}
"""The largest grey of files of 2 and 4 bits, by Pillow's raw mode."""
_GREY_MODES = {"RGB": 3, "RGBA": 3, "LA": 1, "PA": 1}
"""Modes of several channels that may hold greys, and their number of channels without alpha."""
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

# Pillow's limits reject valid files: images above 89 million pixels, PNG files with a colour profile or
# text above 1 MB. We use MAX_PIXELS, at half of which Pillow would warn, and 64 MB for text.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


class Header(NamedTuple):
    """The header of an image file, read without decoding its pixels.

    Attributes:
      width: Columns as stored.
      height: Rows as stored.
      mode: Pillow's colour mode.
      orientation: The EXIF orientation, 1 to 8; 1 if missing.
      frames: Number of frames; the first is read.
    """

    width: int
    height: int
    mode: str
    orientation: int
    frames: int


def decode(
    data: bytes, name: str, size: tuple[int, int] | None = None, *, upright: bool = False
) -> Image.Image:
    """Decodes an image file (JPEG, PNG…) of any colour mode to RGB.

    As Pillow's `convert("RGB")`, which the published loaders call: alpha is dropped, not blended; colour
    profiles and the EXIF orientation are not applied. Unlike Pillow, which clips them, 16-bit greys are
    scaled to 8 bits (value / 257, rounded), and modes without a range (32-bit integers, floating point)
    raise. Only the first of several frames is decoded.

    Args:
      data: The file's bytes.
      name: The file, for error messages.
      size: (width, height) that the annotations state, which the file must have.
      upright: Whether to apply the EXIF orientation as OpenCV does: of JPEG, PNG and WebP files, unless
        it is damaged.

    Raises:
      JaxpartError: The bytes are not an image, truncated or damaged, have more than `MAX_PIXELS` pixels,
        another size than stated, or a mode without a range.
    """
    with _opened(io.BytesIO(data), name, load=False) as image:
        header = _header(image)
        check_size(name, header, size)
        if _is_stored_as(image, "I;12"):  # which Pillow does not scale to white
            raise JaxpartError(
                f"{name} has 12 bits, which cannot be read; save it with 8 or 16 bits"
            )
        image.load()
        pixels = _rgb(image, name)
        turn = _turn(image) if upright else None
    if image.format == "TIFF" and not upright:  # Pillow has turned it upright
        turn = _TURNS.get(_UNDONE_BY.get(header.orientation, header.orientation))
    return pixels if turn is None else pixels.transpose(turn)


def upright_pixels(data: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of `decode(data, name, upright=True)`.

    OpenCV decodes complete colour JPEG files: to the same pixels, since both use libjpeg-turbo, but in half
    the time, since Pillow has to copy the pixels out of its images. Pillow decodes all others, and those
    that OpenCV cannot.

    Raises:
      JaxpartError: As `decode`, except where a byte of the compressed pixels was corrupted into a marker,
        which OpenCV skips.
    """
    if data.startswith(_JPEG_START) and data.endswith(_JPEG_END):
        with (
            contextlib.suppress(Exception),
            Image.open(io.BytesIO(data), formats=("JPEG",)) as image,
        ):
            if image.mode == "RGB" and image.width * image.height <= MAX_PIXELS:
                cv2 = opencv()
                flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
                pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
                if pixels is not None and _turn(image) is None:
                    return pixels
    return np.asarray(decode(data, name, upright=True))


_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transpose that undoes each EXIF orientation; 1 is upright."""
_ORIENTED = "JPEG", "MPO", "PNG", "WEBP"
"""Formats whose EXIF orientation OpenCV applies."""
_UNDONE_BY = {6: 8, 8: 6}
"""The orientation whose transpose is the inverse, where that is another."""


def turn_of(data: bytes) -> Image.Transpose | None:
    """The transpose with which `decode` turns a file upright; None if it already is."""
    try:
        with Image.open(io.BytesIO(data), formats=(*_COMMON, "WEBP")) as image:
            if image.format == "PNG":
                image.load()  # the chunk may follow the pixels
            return _turn(image)
    except Exception:  # `decode` raises for damaged files
        return None


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The same of an open file, loaded if it is a PNG."""
    if image.format not in _ORIENTED:
        return None
    exif = Image.Exif()
    with contextlib.suppress(Exception):  # damaged EXIF raises a dozen types
        exif.load(image.info.get("exif", b""))
        return _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    return None


def upright_size(data: bytes, name: str) -> tuple[int, int, bool]:
    """Width and height of `decode(data, name, upright=True)`, and whether it turns or mirrors the image.

    Read from the header, and raises `JaxpartError` as `read_header`.
    """
    with _opened(io.BytesIO(data), name, load=False) as image:
        width, height = image.size
        if image.format == "TIFF":  # Pillow states the upright size
            return width, height, _header(image).orientation > 1
    turn = turn_of(data)
    if turn in [_TURNS[orientation] for orientation in SIDEWAYS]:
        width, height = height, width
    return width, height, turn is not None


def decode_indices(data: bytes, name: str) -> Integer[np.ndarray, "height width"]:
    """Decodes a grey or palette image file to its raw values: palette indices, not colours.

    Greys may be stored as RGB or as whole floats, and have an alpha channel, which is dropped. Pillow
    scales greys of 2 and 4 bits, and of PGM files with another maximum than 255, to the full range; that
    is undone.

    Args:
      data: The file's bytes.
      name: The file, for error messages.

    Raises:
      JaxpartError: As `decode`, or the file is a JPEG, or has colours, 16 bits in several channels, or
        floats that are not whole numbers.
    """
    with _opened(io.BytesIO(data), name, load=False) as image:
        if image.format in ("JPEG", "MPO"):
            raise JaxpartError(
                f"{name} is a JPEG file, whose compression changes labels; export it again as PNG"
            )
        largest, halved = _largest_grey(image), _halved(image)
        image.load()
        pixels = np.asarray(image)
        _check_palette(image, pixels, name)
    if halved:
        raise JaxpartError(
            f"{name} has 16 bits in each of several channels, of which only 8 can be read; save it as a "
            "grey image"
        )
    channels = _GREY_MODES.get(image.mode)
    if channels and (pixels[..., :channels] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.dtype.kind == "f" and (np.rint(pixels) == pixels).all():
        pixels = pixels.clip(-1, 1 << 30).astype(np.int32)
    if pixels.ndim != 2 or pixels.dtype.kind not in "biu":
        kind = "holds fractions" if pixels.dtype.kind == "f" else "is a colour image"
        raise JaxpartError(f"{name} {kind}; give a grey or palette image of label numbers")
    if largest is not None:
        white = 65535 if image.mode == "I" else 255
        pixels = np.rint(pixels * (largest / white)).astype(pixels.dtype)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _check_palette(image: Image.Image, pixels: np.ndarray, name: str) -> None:
    """Raises `JaxpartError` for a palette of greys that are not its indices, as saving a GIF makes one.

    Even ramps of 1, 2 and 4 bits are no contradiction: they show small numbers as visible greys.
    """
    if image.mode != "P":
        return
    colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
    greys, used = colours[:, 0], np.unique(pixels)
    used = used[used < len(greys)]
    ramp = any(np.array_equal(greys[used], used.astype(int) * step) for step in (255, 85, 17))
    if ramp or (colours != greys[:, None]).any():
        return
    if (wrong := used[greys[used] != used]).size:
        raise JaxpartError(
            f"{name} stores the grey {greys[wrong[0]]} as palette index {wrong[0]}, so its labels are "
            "ambiguous; save it as a grey PNG"
        )


def _largest_grey(image: Image.Image) -> int | None:
    """The stored value that Pillow decodes to white, if it scales the greys of an unloaded file."""
    for codec, _, _, arguments in getattr(image, "tile", ()):
        mode, *options = arguments if isinstance(arguments, tuple) else (arguments,)
        if codec in ("ppm", "ppm_plain") and options:
            return options[-1]
        if str(mode)[:3] in _SCALED_GREYS:
            return _SCALED_GREYS[mode[:3]]
    return None


def _halved(image: Image.Image) -> bool:
    """Whether Pillow keeps the upper 8 of 16 bits of an unloaded file, as it does with several channels."""
    return image.mode in _GREY_MODES and _is_stored_as(image, ";16")


def _is_stored_as(image: Image.Image, mode: str) -> bool:
    """Whether the stored mode of an unloaded file contains `mode`."""
    tiles = getattr(image, "tile", ())  # the stored mode is their argument, or the first of several
    return any(mode in str(arguments) for *_, arguments in tiles)


def palette_labels(file: BinaryIO, name: str) -> dict[tuple[int, ...], int]:
    """The lowest index of each colour, (red, green, blue) from 0 to 255, that an open palette image shows.

    Empty for other images, and for palettes of greys, which `decode_indices` checks. Raises `JaxpartError`
    as `decode`.
    """
    with _opened(file, name, load=False) as image:
        values = (image.getpalette("RGB") or []) if image.mode == "P" else []
        colours = [tuple(values[start : start + 3]) for start in range(0, len(values), 3)]
        if all(len(set(colour)) == 1 for colour in colours):
            return {}
        used = np.unique(np.asarray(image)).tolist()
    return {colours[index]: index for index in reversed(used) if index < len(colours)}


def decode_channels(data: bytes, name: str) -> np.ndarray:
    """The raw values of an image file, [height, width] or [height, width, channel]; raises as `decode`."""
    with _opened(io.BytesIO(data), name) as image:
        return np.asarray(image)


def read_header(file: BinaryIO, name: str) -> Header:
    """Reads the header of an open file. Raises `JaxpartError` as `decode`, but not for damaged pixels."""
    with _opened(file, name, load=False) as image:
        header = _header(image)
        if image.format == "MPO":  # a camera image with a preview
            return header
        return header._replace(frames=getattr(image, "n_frames", 1))


def check_size(name: str, header: Header, size: tuple[int, int] | None) -> None:
    """Raises `JaxpartError` if a file does not have the (width, height) that its annotations state."""
    real = header.width, header.height
    if size is None or size == real:
        return
    if header.orientation in SIDEWAYS and size == real[::-1]:
        raise JaxpartError(
            f"{name} is stored with {real[0]} × {real[1]} pixels and annotated with {size[0]} × {size[1]}: "
            f"its EXIF orientation {header.orientation}, which is not applied, rotates it; save "
            "the image upright and without the EXIF orientation"
        )
    raise JaxpartError(
        f"{name} has {real[0]} × {real[1]} pixels, but its annotations state {size[0]} × {size[1]} (and "
        f"its EXIF orientation is {header.orientation}); give the image that was annotated"
    )


@contextlib.contextmanager
def _opened(file: BinaryIO, name: str, *, load: bool = True) -> Iterator[Image.Image]:
    """Opens a file with Pillow; reports any exception in the body as damage."""
    if not file.read(1):
        raise JaxpartError(f"{name} is an empty file; replace it")
    try:
        with _identified(file) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if load:
                image.load()
            yield image
    except UnidentifiedImageError:
        raise JaxpartError(f"{name} is not an image that Pillow can read; replace it") from None
    except Image.DecompressionBombError:
        raise JaxpartError(
            f"{name} has more than {MAX_PIXELS:,} pixels, the maximum; make it smaller"
        ) from None
    except JaxpartError:
        raise
    except Exception as error:  # damaged bytes raise a dozen types, struct.error and EOFError too
        raise JaxpartError(f"{name} is truncated or damaged ({error}); replace it") from error


def _identified(file: BinaryIO) -> Image.Image:
    """Opens a file with Pillow, common formats first."""
    try:
        return Image.open(file, formats=_COMMON)
    except UnidentifiedImageError:
        return Image.open(file, formats=_other_formats())


@functools.cache
def _other_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.OPEN if name not in (*_COMMON, *NOT_READ))


def _header(image: Image.Image) -> Header:
    try:
        if image.format == "PNG":  # `getexif` would decode the pixels
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
        else:
            exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data are ignored
        orientation = 1
    if not isinstance(orientation, int) or not 1 <= orientation <= 8:
        orientation = 1
    width, height = image.size
    if image.format == "TIFF" and orientation in SIDEWAYS:  # Pillow states the upright size
        width, height = height, width
    return Header(width, height, image.mode, orientation, 1)


def _rgb(image: Image.Image, name: str) -> Image.Image:
    """A decoded image as RGB, see `decode`."""
    if image.mode == "RGB":
        return image
    scaled = image.mode == "I" and image.format in ("PNG", "PPM")  # Pillow's mode for their 16 bits
    if image.mode.startswith("I;16") or scaled:
        grey = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise JaxpartError(
            f"{name} holds {kind}, whose value range is undefined; save it with 8 or 16 bits"
        )
    try:
        return image.convert("RGB")
    except ValueError:
        raise JaxpartError(
            f"{name} has the colour mode {image.mode}, which Pillow cannot convert to RGB; save it as RGB"
        ) from None


def crop(image: Image.Image, box: Box) -> Image.Image:
    """Crops an image to a box; pixels outside the image are black.

    Coordinates are rounded half to even, as in Pillow's `crop`.

    Raises:
      JaxpartError: The rounded box is empty.
    """
    left, top, right, bottom = (round(edge) for edge in box)
    if left >= right or top >= bottom:
        raise JaxpartError(f"the box {box} is empty; give one of at least 1 × 1")
    return image.crop((left, top, right, bottom))


def resize_shorter(
    image: Image.Image, size: int, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Resizes the shorter side to `size` pixels, as `torchvision.transforms.Resize`.

    Raises:
      JaxpartError: The image is so narrow that the result would have more than `MAX_PIXELS` pixels.
    """
    shorter = min(image.size)
    target = int(size * image.width / shorter), int(size * image.height / shorter)
    if target[0] * target[1] > MAX_PIXELS:
        raise JaxpartError(
            f"an image of {image.width} × {image.height} pixels is too narrow to be resized to "
            f"{size} pixels; remove it"
        )
    return image if target == image.size else image.resize(target, how)


def as_png(pixels: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """Encodes an RGB image, or labels in grey, as an 8-bit PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def center_crop(image: Image.Image, size: int) -> Pixels:
    """The central `size` × `size` pixels of an image at least as large, as torchvision's `CenterCrop`."""
    width, height = image.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def patch_eval(image: Image.Image, box: Box, size: int = 224) -> Pixels:
    """A part patch for retrieval and testing: cropped (black outside) and resized to `size`.

    The side of a keypoint's box is an even integer, so its edges are rounded alike and the crop is
    square. Any other box is centre-cropped after the resize, so the result always has the same shape.

    Raises:
      JaxpartError: The rounded box is empty.
    """
    return center_crop(resize_shorter(crop(image, box), size), size)


def patch_train(image: Image.Image, box: Box, size: int = 224) -> Pixels:
    """A part patch for training a probe: cropped, resized to 256 / 224 of `size`, then centre-cropped.

    Raises:
      JaxpartError: The rounded box is empty.
    """
    return image_eval(crop(image, box), size)


def image_eval(
    image: Image.Image, size: int = 224, how: Image.Resampling = Image.Resampling.BICUBIC
) -> Pixels:
    """A whole image for testing: shorter side resized to 256 / 224 of `size`, then centre-cropped."""
    return center_crop(resize_shorter(image, round(size * 256 / 224), how), size)


PATCH_TRANSFORMS: dict[str, Callable[[Image.Image, Box, int], Pixels]] = {
    "eval": patch_eval,
    "train": patch_train,
}
"""The two deterministic transforms of a part patch."""


def normalize(
    images: UInt8[np.ndarray, "*batch height width 3"], mean: Sequence[float], std: Sequence[float]
) -> Float32[np.ndarray, "*batch height width 3"]:
    """(images / 255 − mean) / std per channel in float32, in torchvision's order."""
    scaled = images.astype(np.float32) / np.float32(255)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
