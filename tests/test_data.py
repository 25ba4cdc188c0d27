"""The embedded data: what it holds, that it is deterministic, that damage and missing downloads are reported."""

import hashlib
import io
import json
import pickle
import tarfile

import numpy as np
import pytest
import torch

from vitcourse import data


def test_every_asset_is_listed_and_credited():
    listed = json.loads((data.ASSETS / "checksums.json").read_text(encoding="utf-8"))
    files = {
        p.relative_to(data.ASSETS).as_posix() for kind in ("*.npz", "photos/*.png") for p in data.ASSETS.glob(kind)
    }
    credits = (data.ASSETS / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert files <= set(listed)
    for name in files:
        assert hashlib.sha256((data.ASSETS / name).read_bytes()).hexdigest() == listed[name]
        assert listed[name] in credits
    assert {f"photos/{name}.png" for name in data.photo_names()} <= files
    assert sum((data.ASSETS / name).stat().st_size for name in files) < 11e6


def test_damaged_and_missing_assets_say_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes(b"spoilt")
    (tmp_path / "checksums.json").write_text(json.dumps({"a.npz": "0" * 64, "b.npz": "0" * 64}))
    monkeypatch.setattr(data, "ASSETS", tmp_path)
    with pytest.raises(data.DataUnavailable, match=r"damaged.*git checkout"):
        data._asset("a.npz")
    with pytest.raises(data.DataUnavailable, match=r"missing.*git checkout"):
        data._asset("b.npz")


def test_photo_sizes_and_range():
    assert data.photo("china").shape == (3, 256, 384)
    assert data.photo(size=64).shape == (3, 64, 64)
    wide = data.photo("coffee", (32, 96))
    assert wide.shape == (3, 32, 96)
    assert wide.dtype == torch.float32
    assert wide.min() >= 0
    assert wide.max() <= 1
    assert wide.std() > 0.05


def test_photo_is_cropped_around_the_centre_not_stretched():
    full = data.photo("chelsea")
    left = (full.shape[2] - 256) // 2
    assert torch.allclose(data.photo("chelsea", 256), full[:, :, left : left + 256], atol=1e-6)


def test_photo_hands_out_copies():
    data.photo("brick").zero_()
    assert data.photo("brick").max() > 0.5


def test_photo_refuses_bad_arguments():
    with pytest.raises(ValueError, match=r"astronaut.*rocket"):
        data.photo("lena")
    with pytest.raises(ValueError, match="at least 1 pixel"):
        data.photo(size=0)


@pytest.mark.parametrize(("split", "n"), [("train", 10000), ("test", 2000)])
def test_fashion_mnist(split, n):
    d = data.fashion_mnist(split)
    assert d.images.shape == (n, 1, 28, 28)
    assert d.images.dtype == torch.float32
    assert d.labels.dtype == torch.int64
    assert len(d) == n
    assert d.num_classes == 10
    assert d.images.min() == 0
    assert d.images.max() == 1
    assert d.labels.bincount().min() > 0.07 * n
    trousers, bags = d.images[d.labels == 1].mean(0)[0], d.images[d.labels == 8].mean(0)[0]
    assert trousers[:, :7].mean() < 0.1 < bags[:, :7].mean()  # trousers are narrow, bags are wide


def test_fashion_mnist_refuses_an_unknown_split():
    with pytest.raises(ValueError, match="split"):
        data.fashion_mnist("heldout")


@pytest.mark.parametrize(("name", "classes"), [("emoji12", 12), ("emoji10", 10)])
@pytest.mark.parametrize("split", ["train", "test", "heldout"])
def test_emoji_is_balanced_and_deterministic(name, classes, split):
    d = data.emoji(name, split, n=10 * classes)
    assert d.images.shape == (10 * classes, 3, 32, 32)
    assert d.images.dtype == torch.float32
    assert d.num_classes == classes
    assert d.labels.bincount().tolist() == [10] * classes
    assert d.take(classes).labels.sort().values.tolist() == list(range(classes))
    assert torch.allclose(d.images * 255, (d.images * 255).round(), atol=1e-4)  # whole steps of 1/255
    again = data.emoji(name, split, n=10 * classes)
    assert torch.equal(d.images, again.images)
    assert torch.equal(d.labels, again.labels)


def test_emoji_seed_split_and_set_give_other_pictures():
    one = data.emoji(n=24).images
    for other in (data.emoji(n=24, seed=1), data.emoji(n=24, split="test"), data.emoji("emoji10", n=24)):
        distance = (one[:, None] - other.images[None]).abs().mean(dim=(2, 3, 4))
        assert distance.min() > 0.01


def test_emoji_statistics_are_the_ones_the_lessons_were_written_with():
    """Catches a change of the generator; loose enough for rounding differences between platforms."""
    d = data.emoji(n=120)
    assert d.labels[:12].tolist() == [8, 7, 5, 4, 11, 1, 10, 0, 9, 3, 2, 6]
    assert d.images.mean().item() == pytest.approx(0.45097, abs=1e-4)


def test_heldout_shares_neither_styles_nor_photographs(monkeypatch):
    assert not set(data.TRAIN_STYLES) & set(data.HELDOUT_STYLES)
    assert not set(data.TRAIN_PHOTOS) & set(data.HELDOUT_PHOTOS)
    used = set()
    real = data._photo_pixels
    monkeypatch.setattr(data, "_photo_pixels", lambda name: used.add(name) or real(name))
    data.emoji(split="heldout", n=120)
    assert used == set(data.HELDOUT_PHOTOS)
    used.clear()
    data.emoji(split="test", n=240)
    assert used == set(data.TRAIN_PHOTOS)


def test_heldout_draws_sprites_of_its_two_styles_only(monkeypatch):
    table = data._sprites("emoji12")
    only = torch.zeros_like(table.rgba)  # make every other style invisible: the held-out pictures must not change
    keep = torch.from_numpy(np.isin(table.style, data.HELDOUT_STYLES))
    only[keep] = table.rgba[keep]
    before = data.emoji(split="heldout", n=60).images
    train = data.emoji(n=60).images
    hidden = data._Sprites(only, table.label, table.style, table.class_names)
    monkeypatch.setattr(data, "_sprites", lambda name: hidden)
    assert torch.equal(before, data.emoji(split="heldout", n=60).images)
    assert not torch.equal(train, data.emoji(n=60).images)


def test_emoji_sizes_and_errors():
    assert data.emoji(n=3, size=64).images.shape == (3, 3, 64, 64)
    for bad in ({"name": "emoji11"}, {"split": "val"}, {"n": 0}, {"size": 4}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            data.emoji(**bad)


def test_masks_cover_the_sprites():
    d = data.emoji_masks(n=36, sprites_per_image=1)
    assert d.images.shape == (36, 3, 64, 64)
    assert d.labels.shape == (36, 64, 64)
    assert d.labels.dtype == torch.int64
    assert d.class_names[0] == "background"
    assert d.num_classes == 13
    assert all(len(mask.unique()) == 2 for mask in d.labels)  # background and one class
    assert d.labels.amax(dim=(1, 2)).bincount()[1:].tolist() == [3] * 12
    share = (d.labels > 0).float().mean().item()
    assert 0.1 < share < 0.7


def test_masks_say_where_the_picture_differs_from_its_background(monkeypatch):
    monkeypatch.setattr(data, "_jitter", lambda images, rng: images)
    with_sprites = data.emoji_masks(n=24)
    table = data._sprites("emoji12")
    hidden = data._Sprites(torch.zeros_like(table.rgba), table.label, table.style, table.class_names)
    monkeypatch.setattr(data, "_sprites", lambda name: hidden)
    without = data.emoji_masks(n=24)
    assert without.labels.max() == 0
    changed = (with_sprites.images - without.images).abs().amax(1) > 0.15
    assert (changed & (with_sprites.labels > 0)).sum() / changed.sum() > 0.95


def test_masks_hold_several_sprites():
    d = data.emoji_masks(n=60, sprites_per_image=(1, 3))
    classes = torch.tensor([len(mask.unique()) - 1 for mask in d.labels])
    assert classes.min() >= 1
    assert classes.max() == 3
    assert (classes > 1).float().mean() > 0.4
    with pytest.raises(ValueError, match="sprites_per_image"):
        data.emoji_masks(n=1, sprites_per_image=(3, 1))


# --------------------------------------------------------------------------- CIFAR-10


def _archive(path, batches):
    """A tiny archive laid out like cifar-10-python.tar.gz; returns its MD5."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in batches.items():
            raw = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return hashlib.md5(path.read_bytes()).hexdigest()


def _batches(per_batch=2):
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    made = {
        name: {
            b"data": rng.integers(0, 256, (per_batch, 3072), dtype=np.uint8),
            b"labels": [(number + i) % 10 for i in range(per_batch)],
        }
        for number, name in enumerate(names)
    }
    made["batches.meta"] = {b"label_names": [c.encode() for c in "abcdefghij"]}
    return made


def test_cifar10_downloads_checks_and_reads(tmp_path):
    batches = _batches()
    md5 = _archive(tmp_path / "mirror.tar.gz", batches)
    mirrors = ((tmp_path / "absent.tar.gz").as_uri(), (tmp_path / "mirror.tar.gz").as_uri())
    train = data.cifar10("train", root=tmp_path / "cache", mirrors=mirrors, md5=md5)
    assert train.images.shape == (10, 3, 32, 32)
    assert train.class_names == tuple("abcdefghij")
    assert train.labels.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    expected = torch.from_numpy(batches["data_batch_2"][b"data"]).view(2, 3, 32, 32) / 255
    assert torch.equal(train.images[2:4], expected)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [data.CIFAR10_ARCHIVE]
    assert len(data.cifar10("test", root=tmp_path / "cache", mirrors=(), md5=md5)) == 2  # now from the local file


def test_cifar10_refuses_a_wrong_checksum_and_leaves_nothing_behind(tmp_path):
    _archive(tmp_path / "mirror.tar.gz", _batches())
    with pytest.raises(data.DataUnavailable, match="MD5"):
        data.cifar10(root=tmp_path / "cache", mirrors=[(tmp_path / "mirror.tar.gz").as_uri()])
    assert list((tmp_path / "cache").iterdir()) == []


def test_cifar10_replaces_a_damaged_local_file(tmp_path):
    md5 = _archive(tmp_path / "mirror.tar.gz", _batches())
    (tmp_path / data.CIFAR10_ARCHIVE).write_bytes(b"half a file")
    with pytest.raises(data.DataUnavailable, match="damaged"):
        data.cifar10(root=tmp_path, mirrors=(), md5=md5)
    assert len(data.cifar10(root=tmp_path, mirrors=[(tmp_path / "mirror.tar.gz").as_uri()], md5=md5)) == 10


class _Evil:
    def __reduce__(self):
        import os

        return os.system, ("echo owned > owned.txt",)


@pytest.mark.parametrize("spoilt", [_Evil(), b"not a pickle", {b"data": np.zeros((2, 7), np.uint8)}, [1, 2]])
def test_cifar10_runs_no_code_and_reports_nonsense(tmp_path, monkeypatch, spoilt):
    monkeypatch.chdir(tmp_path)
    md5 = _archive(tmp_path / data.CIFAR10_ARCHIVE, {**_batches(), "data_batch_3": spoilt})
    with pytest.raises(data.DataUnavailable):
        data.cifar10(root=tmp_path, mirrors=(), md5=md5)
    assert not (tmp_path / "owned.txt").exists()


def test_cifar10_gives_up_on_a_slow_mirror(tmp_path):
    md5 = _archive(tmp_path / "mirror.tar.gz", _batches())
    with pytest.raises(data.DataUnavailable, match="too long"):
        data.cifar10(root=tmp_path / "c", mirrors=[(tmp_path / "mirror.tar.gz").as_uri()], md5=md5, limit=-1)


def test_best_available_falls_back_in_one_line(tmp_path, capsys):
    train, test = data.best_available(download=True, n_train=24, root=tmp_path, mirrors=())
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "Emoji-12" in out
    assert "CIFAR-10" in out
    assert err == ""
    assert len(train) == 24
    assert train.class_names == test.class_names
    assert train.images.shape[1:] == (3, 32, 32)


def test_best_available_takes_cifar10_when_it_can(tmp_path, capsys):
    md5 = _archive(tmp_path / data.CIFAR10_ARCHIVE, _batches())
    train, test = data.best_available(download=True, n_train=7, root=tmp_path, mirrors=(), md5=md5)
    assert (len(train), len(test)) == (7, 2)
    assert "CIFAR-10" in capsys.readouterr().out
