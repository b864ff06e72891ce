"""Images: which files of a folder are rows, how each mode is converted, and what is refused by name."""

import io
import itertools
import re
import shutil
import struct
import time
import zlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.contracts.sources import Folder
from harness.data import images, media, reading, splits
from harness.errors import HarnessError
from harness.kinds import image_classification
from harness.kinds.pictures import load_image
from harness.spec import Task
from harness.util.console import Progress, showing


def task(**changes):
    arguments = {
        "name": "toy", "kind": image_classification, "dataset": Folder("own"), "inputs": ("image",),
        "label": "label", "metric": "accuracy", "test": 6, "validation": 4, "calibration": 2,
    }  # fmt: skip
    return Task(**(arguments | changes))


def picture(number=0, mode="RGB", size=(4, 4)):
    pixels = np.random.default_rng(number).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write(path, image=None, **options):
    path.parent.mkdir(exist_ok=True, parents=True)
    (image or picture(zlib.crc32("/".join(path.parts[-3:]).encode()))).save(path, **options)
    return path


def fill(folder, labels=("cat", "dog"), count=12):
    for label in labels:
        for number in range(count):
            write(folder / label / f"{number}.png")


def read(tmp_path, **changes):
    tables, _, notes = reading.read(task(**changes), tmp_path)
    return tables, notes


def labels(table):
    return Counter(table["label"])


def refusal(tmp_path, **changes):
    with pytest.raises(HarnessError) as caught:
        read(tmp_path, **changes)
    return str(caught.value)


# Files of a folder


def test_words_in_file_names_choose_no_split(tmp_path):
    fill(tmp_path / "own")
    write(tmp_path / "own" / "cat" / "train-line-300.png")
    write(tmp_path / "own" / "dog" / "my test.png")
    tables, notes = read(tmp_path)
    assert {"cat": 13, "dog": 13} == labels(tables["train"])
    assert not notes


@pytest.mark.parametrize("label", ["__bird__", "[d]", "train", "a.b", "été", "01"])
def test_every_folder_is_a_label(label, tmp_path):
    fill(tmp_path / "own", (label, "cat"))
    tables, _ = read(tmp_path)
    assert {"train": {label: 12, "cat": 12}} == {split: labels(table) for split, table in tables.items()}


def test_folders_of_splits_are_kept(tmp_path):
    for split, count in {"train": 12, "val": 3, "test": 5}.items():
        fill(tmp_path / "own" / split, count=count)
    tables, _ = read(tmp_path, test=None, validation=None)
    assert {"train": 24, "validation": 6, "test": 10} == {split: len(table) for split, table in tables.items()}
    assert {"cat": 5, "dog": 5} == labels(tables["test"])


def test_endings_do_not_hide_images(tmp_path):
    fill(tmp_path / "own")
    png = (tmp_path / "own" / "cat" / "0.png").read_bytes()
    for name in ("A.PNG", "b.jpg", "c.dat", "d"):
        (tmp_path / "own" / "cat" / name).write_bytes(png)
    write(tmp_path / "own" / "dog" / "e.jp2")
    write(tmp_path / "own" / "dog" / "f.tga")
    tables, notes = read(tmp_path)
    assert {"cat": 16, "dog": 14} == labels(tables["train"])
    assert not notes


def test_files_left_out_are_counted_with_a_reason(tmp_path):
    fill(tmp_path / "own")
    for name in (".DS_Store", "cat/Thumbs.db", "dog/._0.png", "__MACOSX/cat/0.png", "dog/notes.txt", "README"):
        path = tmp_path / "own" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"words\n")
    tables, (note,) = read(tmp_path)
    assert {"cat": 12, "dog": 12} == labels(tables["train"])
    assert "6 of 30 files were left out: 4 hidden or of the operating system (own/.DS_Store), 2 of text (" in note


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("preview.png", r"own: images lie in folders named by label, .*; 1 of them lie elsewhere, .*own/preview.png"),
        ("cat/indoor/1.png", r"1 of them lie elsewhere, the first .*own/cat/indoor/1.png \(it holds 25 files"),
        ("train/cat/1.png", r"1 of them lie elsewhere, the first .*own/train/cat/1.png"),
        ("Cat/1.png", r"the labels 'Cat' and 'cat' differ in spelling only"),
    ],
)  # fmt: skip
def test_images_out_of_place_are_refused(name, message, tmp_path):
    fill(tmp_path / "own")
    write(tmp_path / "own" / name)
    with pytest.raises(HarnessError, match=message):
        read(tmp_path)


def test_two_letters_may_differ_in_case(tmp_path):
    fill(tmp_path / "own", ("a", "A"))
    assert {"a": 12, "A": 12} == labels(read(tmp_path)[0]["train"])


def test_label_without_images_is_refused(tmp_path):
    fill(tmp_path / "own")
    (tmp_path / "own" / "bird").mkdir()
    assert f"{tmp_path / 'own' / 'bird'} holds no image" in refusal(tmp_path)


def test_split_without_images_is_refused(tmp_path):
    fill(tmp_path / "own" / "train")
    (tmp_path / "own" / "test").mkdir()
    assert f"{tmp_path / 'own' / 'test'} holds no image" in refusal(tmp_path)


def test_splits_without_labels_are_refused(tmp_path):
    fill(tmp_path / "own", ("train", "test"))
    assert "these have no label" in refusal(tmp_path)


def test_two_folders_of_one_split_are_refused(tmp_path):
    for split in ("train", "val", "validation"):
        fill(tmp_path / "own" / split)
    assert "two of the folders train, val, validation are the same split" in refusal(tmp_path)


def test_missing_training_folder_is_refused(tmp_path):
    fill(tmp_path / "own" / "test")
    assert "its folders are named after test, and none after train" in refusal(tmp_path)


def test_order_depends_on_names_alone(tmp_path):
    fill(tmp_path / "own", ("dog", "cat"))
    shutil.copytree(tmp_path / "own", tmp_path / "copy")
    for file in sorted((tmp_path / "copy").rglob("*.png"), reverse=True):  # another order on disk
        shutil.move(file, file.with_suffix(".tmp"))
        shutil.move(file.with_suffix(".tmp"), file)
    one, two = (splits.load(task(dataset=Folder(name)), tmp_path) for name in ("own", "copy"))
    assert one.sha256 == two.sha256


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_names_the_images(name, tmp_path):
    fill(tmp_path / "own", ("images",), count=25)
    lines = [(f"images/{number}.png", "01" if number % 2 else "1") for number in range(24)]
    if name.endswith("csv"):
        content = "file_name,label\n" + "".join(f"{file},{label}\n" for file, label in lines)
    else:
        content = "".join(f'{{"file_name": "{file}", "label": "{label}"}}\n' for file, label in lines)
    (tmp_path / "own" / name).write_text(content)
    tables, (note,) = read(tmp_path)
    assert {"01": 12, "1": 12} == labels(tables["train"])
    assert "1 of 26 files were left out: 1 not named by the metadata (images/24.png)" in note


def test_metadata_of_a_split_lies_in_its_folder(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / "own" / split, (".",))
        lines = [f"{number}.png,{'ab'[number % 2]}\n" for number in range(12)]
        (tmp_path / "own" / split / "metadata.csv").write_text("file_name,label\n" + "".join(lines))
    tables, _ = read(tmp_path, test=None)
    assert {"train": {"a": 6, "b": 6}, "test": {"a": 6, "b": 6}} == {s: labels(table) for s, table in tables.items()}


def test_only_labels_must_be_spelled_alike(tmp_path):
    fill(tmp_path / "own", ("images",))
    lines = [f"images/{number}.png,{('a Cat', 'a cat')[number % 2]}\n" for number in range(12)]
    (tmp_path / "own" / "metadata.csv").write_text("file_name,label\n" + "".join(lines))
    assert "the labels 'a Cat' and 'a cat' differ in spelling only" in refusal(tmp_path)
    tables, _ = read(tmp_path, kind="image-to-text", metric="rougeL")
    assert {"a Cat": 6, "a cat": 6} == labels(tables["train"])


def test_metadata_of_which_all_columns_are_read_may_differ_and_hides_no_file(tmp_path):
    for part, column in (("red", "image"), ("blue", "size")):
        fill(tmp_path / "own" / part, (".",), count=1)
        (tmp_path / "own" / part / "metadata.csv").write_text(f"file_name,{column}\n0.png,small\n")
    open_task = SimpleNamespace(label=None, kind=SimpleNamespace(label="none"))
    rows = media.read_files(open_task, tmp_path / "own", images.IMAGES)[0]["train"]
    assert [None, "small"] == sorted(rows["size"], key=str)
    paths = [row["path"] for row in images.undecoded(rows, "image")["image"]]
    assert [str(tmp_path / "own" / part / "0.png") for part in ("blue", "red")] == paths


def test_metadata_without_names_of_files_is_refused(tmp_path):
    fill(tmp_path / "own", ("images",))
    (tmp_path / "own" / "metadata.csv").write_text("file,label\nimages/0.png,a\n")
    assert "metadata has no column file_name" in refusal(tmp_path)


def test_metadata_of_a_missing_image_is_refused(tmp_path):
    fill(tmp_path / "own", ("images",))
    (tmp_path / "own" / "metadata.csv").write_text("file_name,label\nimages/0.png,a\nimages/x.png,b\n")
    assert "metadata.csv: line 3: row 1 names 'images/x.png', which is no file below" in refusal(tmp_path)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and not media.LEFTOVER.fullmatch(name)
)


@given(st.lists(NAMES, min_size=1, max_size=5, unique_by=str.casefold))
def test_files_of_any_name_are_rows(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any") / "own"
    fill(folder, count=1)
    png, expected = (folder / "cat" / "0.png").read_bytes(), 1
    for name in names:
        if not media.METADATA.fullmatch(name):
            (folder / "cat" / name).write_bytes(png)
            expected += name != "0.png"
    tables, notes = media.read_files(task(), folder, images.IMAGES)
    assert {"cat": expected, "dog": 1} == labels(tables["train"])
    assert not notes


# Modes


def stored(image, form="PNG", **options):
    image.save(file := io.BytesIO(), form, **options)
    return {"bytes": file.getvalue(), "path": None}


def loaded(image, form="PNG", **options):
    """The pixels and the remarks of an image that was saved."""
    result = load_image(stored(image, form, **options))
    assert result.image.mode == "RGB"
    return np.asarray(result.image), " ".join(result.remarks)


DEEP = np.array([[0, 255, 256], [4096, 50_000, 65_535]], dtype=np.uint16)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_upper_eight_of_sixteen_bits_are_used(form):
    pixels, remarks = loaded(Image.fromarray(DEEP), form)
    assert [[0, 0, 1], [16, 195, 255]] == pixels[:, :, 2].tolist()
    assert "have 16 bits a value, of which the upper 8 are used" in remarks


@pytest.mark.parametrize(("peak", "eight"), [(65535, 255), (4095, 15)])
def test_sixteen_bits_of_colour_are_remarked(peak, eight):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header, row = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0), b"\0" + struct.pack(">HHH", peak, 0, 0)
    chunks = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")
    image, remarks, most = load_image({"bytes": b"\x89PNG\r\n\x1a\n" + b"".join(chunks), "path": None})
    assert (eight, 0, 0) == image.getpixel((0, 0))
    assert (("have 16 bits a value, of which the upper 8 are used",), eight << 8) == (remarks, most)


def test_big_endian_values_are_read():
    header = b"MM\0*\0\0\0\x08\0\x09"
    tags = [(256, 3), (257, 2), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 2), (279, 12)]
    entries = b"".join(tag.to_bytes(2) + b"\0\x04\0\0\0\1" + value.to_bytes(4) for tag, value in tags)
    data = header + entries + b"\0" * 4 + DEEP.astype(">u2").tobytes()
    result = load_image({"bytes": data, "path": None})
    assert [[0, 0, 1], [16, 195, 255]] == np.asarray(result.image)[:, :, 0].tolist()
    assert 65_535 == result.peak


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, 70_000]], dtype=np.int32), r"it holds 32-bit integers \(mode I\), whose range is unknown"),
        (np.array([[0, 0.5]], dtype=np.float32), r"it holds floats \(mode F\), whose range is unknown"),
    ],
)
def test_values_of_unknown_range_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        load_image(stored(Image.fromarray(array), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_is_repeated_in_three_channels(mode):
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert(mode)
    pixels, remarks = loaded(image)
    assert [[[0] * 3, [255] * 3]] == pixels.tolist()
    assert "are greyscale" in remarks


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_colour_under_transparency_is_used(mode):
    image = Image.new("RGBA", (2, 1), (90, 90, 90, 0)).convert("RGB" if mode == "P" else mode)
    image = image.quantize(4) if mode == "P" else image
    pixels, remarks = loaded(image, **({"transparency": image.getpixel((0, 0))} if mode == "P" else {}))
    assert [90, 90, 90] == pixels[0, 0].tolist()
    assert "are transparent in part" in remarks


def test_opaque_alpha_is_no_remark():
    image = picture(3)
    pixels, remarks = loaded(image.convert("RGBA"))
    assert np.array_equal(np.asarray(image), pixels)
    assert not remarks


def test_palette_gives_its_colours():
    pixels, remarks = loaded(Image.new("RGB", (2, 2), (200, 40, 40)).quantize(4))
    assert [200, 40, 40] == pixels[0, 0].tolist()
    assert not remarks


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_other_colour_spaces_become_rgb(mode):
    white = {"CMYK": (0, 0, 0, 0), "LAB": (255, 128, 128)}[mode]
    pixels, remarks = loaded(Image.new(mode, (2, 2), white), "TIFF", compression="raw")
    assert pixels.min() > 250
    assert f"have mode {mode}" in remarks


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(1, size=(2, 3))
    pixels, remarks = loaded(image, exif=exif)
    assert np.array_equal(np.rot90(np.asarray(image), -1), pixels)
    assert "are turned upright, as their EXIF orientation says" in remarks


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_several_frames_are_refused(form):
    value = stored(picture(1), form, save_all=True, append_images=[picture(2), picture(3)])
    with pytest.raises(ValueError, match=r"it has 3 pages or frames; keep the one"):
        load_image(value)


def test_first_picture_of_a_phone_is_used():
    pixels, remarks = loaded(Image.new("RGB", (8, 8), (255, 0, 0)), "MPO", save_all=True, append_images=[picture(2)])
    assert pixels[:, :, 0].min() > 240
    assert "hold further pictures (MPO), of which the first is used" in remarks


# Every image is checked


def table(*values):
    return Dataset.from_dict({"image": list(values)})


def test_notes_count_conversions_and_name_the_first(tmp_path):
    fill(tmp_path / "own")
    for number in range(3):
        write(tmp_path / "own" / "cat" / f"deep{number}.png", Image.fromarray(DEEP + number))
    _, notes = read(tmp_path)
    first = "the first is cat/deep0.png"
    assert f"3 of 27 images of train have 16 bits a value, of which the upper 8 are used; {first}" in notes
    assert any(note.startswith("3 of 27 images of train are greyscale") for note in notes)


def test_few_bits_in_sixteen_are_refused(tmp_path):
    fill(tmp_path / "own")
    write(tmp_path / "own" / "cat" / "scan.png", Image.fromarray(DEEP // 16))
    assert "the images of 16 bits of train, the first cat/scan.png, reach only 4,095 of 65,535" in refusal(tmp_path)


def test_truncated_images_are_counted_and_named(tmp_path):
    fill(tmp_path / "own")
    for number in (3, 5):
        file = write(tmp_path / "own" / "dog" / f"{number}.png", picture(number, size=(64, 64)))
        file.write_bytes(file.read_bytes()[:2000])
    message = refusal(tmp_path)
    assert f"2 of 24 images of train cannot be used, the first {tmp_path / 'own' / 'dog' / '3.png'}: " in message
    assert "truncated" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.png", b"", "the file is empty"),
        ("x.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "run: git lfs pull"),
        ("x.jpg", b"<html>not found</html>", "Pillow knows no such format"),
        ("x.heic", b"\0\0\0\x18ftypheic" * 20, "Pillow knows no such format; run: python -m pip install pillow-heif"),
        ("x.svg", b"<svg/>", "Pillow knows no such format"),
        ("x.npy", b"\x93NUMPY\1\0v\0", "Pillow knows no such format"),
    ],
)
def test_file_that_is_no_image_is_refused(name, content, message, tmp_path, monkeypatch):
    fill(tmp_path / "own")
    (tmp_path / "own" / "cat" / name).write_bytes(content)
    problem = refusal(tmp_path)
    assert f"1 of 25 images of train cannot be used, the first {tmp_path / 'own' / 'cat' / name}: " in problem
    assert message in problem


def test_decompression_bomb_is_refused_by_name(tmp_path, monkeypatch):
    fill(tmp_path / "own")
    write(tmp_path / "own" / "cat" / "bomb.png", Image.new("L", (200, 200)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    problem = refusal(tmp_path)
    assert "cat/bomb.png: " in problem
    assert "decompression bomb" in problem


@pytest.mark.filterwarnings("error")
def test_large_image_is_no_bomb(tmp_path, monkeypatch):
    fill(tmp_path / "own")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert 24 == len(read(tmp_path)[0]["train"])


def test_bytes_of_parquet_are_images():
    value = stored(Image.fromarray(DEEP))
    for values in ([value], [value["bytes"]]):
        rows, notes = images.check_images(task(), "train", table(*values), "image")
        assert (2, 3, 3) == np.asarray(rows[0]["image"]).shape
        assert (
            "1 of 1 images of train have 16 bits a value, of which the upper 8 are used; the first is row 0" in notes[0]
        )


def test_damaged_bytes_are_named_by_row():
    value = stored(picture(1, size=(64, 64)))
    values = [value, {"bytes": value["bytes"][:500], "path": "b.png"}]
    with pytest.raises(HarnessError, match=r"1 of 2 images of test cannot be used, the first row 1 of test: "):
        images.check_images(task(), "test", table(*values), "image")


def test_paths_in_a_column_are_refused():
    with pytest.raises(HarnessError, match=r"column image of train holds text \('a.png'\), not images; .*metadata.csv"):
        images.check_images(task(), "train", table("a.png"), "image")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.0, 0.5]]), r"it holds float64 from 0 to 0.5; scale it to integers from 0 to 255"),
        (np.array([[0, 4095]]), r"it holds int64 from 0 to 4095; scale it"),
        (np.array([[-1, 4]]), r"it holds int64 from -1 to 4; scale it"),
        (np.zeros((3, 8, 8), dtype=np.uint8), r"it has the shape \(3, 8, 8\); expected \(height, width\)"),
        (np.zeros(4, dtype=np.uint8), r"it has the shape \(4,\)"),
    ],
)
def test_arrays_of_unclear_values_are_refused(array, message):
    with pytest.raises(HarnessError, match=rf"1 of 1 images of train .*, the first row 0 of train: {message}"):
        images.check_images(task(), "train", table(array.tolist()), "image")


def test_arrays_stay_as_they_are():
    array = np.arange(16, dtype=np.uint8).reshape(4, 4)
    rows, notes = images.check_images(task(), "train", table(array), "image")
    assert array.tolist() == rows[0]["image"]
    assert ["1 of 1 images of train are greyscale"] == [note.partition(":")[0] for note in notes]


# Channels and sizes


def split_of(*pictures):
    rows, _ = images.check_images(task(), "test", table(*map(stored, pictures)), "image")
    return splits.Split(*[rows.select([])] * 3, test=rows, labels=(), duplicates=0)


def test_colour_does_not_fit_a_model_of_one_channel():
    split = split_of(picture(1, "L"), picture(2), picture(3))
    with pytest.raises(
        HarnessError,
        match=r"model mine: the model reads 1 channels \(num_channels\), which 2 of 3 images do not have, "
        r"the first row 1 of test: it has 3 channels",
    ):
        images.check_fit("model mine", SimpleNamespace(num_channels=1), split, "image")


@pytest.mark.parametrize("channels", [1, 3, None])
def test_grey_fits_models_of_one_and_three_channels(channels):
    images.check_fit("model mine", SimpleNamespace(num_channels=channels), split_of(picture(1, "L")), "image")


def test_sizes_differ_only_if_images_are_resized():
    split = split_of(picture(1), picture(2), picture(3, size=(8, 8)))
    images.check_fit("model mine", SimpleNamespace(do_resize=True), split, "image")
    with pytest.raises(HarnessError, match=r"2 sizes, such as 4 x 4 \(row 0 of test\), 8 x 8 \(row 2 of test\)"):
        images.check_fit("model mine", SimpleNamespace(do_resize=False), split, "image")


def test_row_identity_is_the_files_bytes(tmp_path):
    fill(tmp_path / "own")
    shutil.copy(tmp_path / "own" / "cat" / "0.png", tmp_path / "own" / "cat" / "copy.png")
    write(tmp_path / "own" / "cat" / "other.png", Image.open(tmp_path / "own" / "cat" / "0.png"), compress_level=0)
    assert 1 == splits.load(task(), tmp_path).duplicates


def test_path_is_no_pattern(tmp_path):
    fill(tmp_path / "[d]*")
    assert 24 == len(read(tmp_path, dataset=Folder("[d]*"))[0]["train"])


def test_reading_every_image_is_shown(tmp_path):
    fill(tmp_path / "own")
    log = io.StringIO()
    with showing(Progress(log=log, clock=itertools.count(0, 40).__next__)):
        read(tmp_path)
    assert re.search(r"reading the images of toy, train\W+100%", log.getvalue())


def test_time_to_list_images_grows_with_their_number(tmp_path, monkeypatch):
    rows = [("train", tmp_path / f"{number}.png", {"label": "ab"[number % 2]}) for number in range(20_000)]
    monkeypatch.setattr(media, "_labelled_rows", lambda *_: rows)
    begin = time.process_time()
    parts, _ = media.read_files(task(), tmp_path, images.IMAGES)
    assert 20_000 == len(parts["train"])
    assert time.process_time() - begin < 20  # to go through all rows for each takes minutes
