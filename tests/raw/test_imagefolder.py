import os
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.core.dataset_facts import DatasetError
from pipeline.raw.image_files import read_images
from pipeline.raw.imagefolder import find_images
from pipeline.store.format.manifest import DatasetInfo


def make(root, *paths, size=(8, 8)):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10, 20, 30)).save(root / path)


def test_classes_and_files_come_in_the_order_of_their_names(tmp_path):
    make(
        tmp_path, "train/b/2.png", "train/b/10.png", "train/a/x.png", "test/a/y.png", "test/b/z.png"
    )
    folder = find_images(tmp_path, None)
    assert folder.class_names == ("a", "b")
    assert [path.name for path in folder.train.paths] == ["x.png", "10.png", "2.png"]
    assert folder.train.labels == (0, 1, 1)
    assert folder.test is not None
    assert [path.name for path in folder.test.paths] == ["y.png", "z.png"]


def test_folders_of_classes_alone_have_no_test_set(tmp_path):
    make(tmp_path, "a/x.png", "b/y.JPG")
    folder = find_images(tmp_path, 0.2)
    assert folder.test is None
    assert folder.class_names == ("a", "b")
    assert len(folder.train.paths) == 2


def test_train_without_test_has_no_test_set(tmp_path):
    make(tmp_path, "train/a/x.png", "train/b/y.png")
    assert find_images(tmp_path, 0.2).test is None


def test_other_files_are_counted_and_hidden_ones_are_not_images(tmp_path):
    make(tmp_path, "a/x.png", "a/.hidden.png", "b/y.png", ".git/z.png")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    folder = find_images(tmp_path, 0.2)
    assert folder.class_names == ("a", "b")
    assert [path.name for path in folder.train.paths] == ["x.png", "y.png"]
    assert folder.ignored == 2


def test_missing_root_says_how_to_mend(tmp_path):
    with pytest.raises(DatasetError, match=r"absent: set machine.data_root .*DECANT_DATA"):
        find_images(tmp_path / "absent", 0.2)


def test_one_class_is_refused(tmp_path):
    make(tmp_path, "a/x.png")
    with pytest.raises(DatasetError, match="holds 1 class folders"):
        find_images(tmp_path, 0.2)


def test_class_without_images_is_named(tmp_path):
    make(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty holds no image file"):
        find_images(tmp_path, 0.2)


def test_other_classes_in_the_test_folder_are_named(tmp_path):
    make(tmp_path, "train/a/x.png", "train/b/y.png", "test/a/z.png", "test/c/z.png")
    with pytest.raises(DatasetError, match=r"different classes: b, c \(2 in all\)"):
        find_images(tmp_path, None)


def test_unreadable_image_is_named(tmp_path):
    make(tmp_path, "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    for name, content in (("text.png", b"hello"), ("cut.png", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=rf"{name} cannot be read as an image"):
            read_images([tmp_path / "good.png", tmp_path / name], 8)


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (33, 10), (8, 8), (5, 9)])
def test_short_side_fits_and_the_centre_is_kept(tmp_path, width, height):
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    picture.save(tmp_path / "x.png")
    (image,) = read_images([tmp_path / "x.png"], 8)
    scale = 8 / min(width, height)
    whole = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    pixels = np.asarray(whole)
    top, left = (pixels.shape[0] - 8) // 2, (pixels.shape[1] - 8) // 2
    np.testing.assert_array_equal(image, pixels[top : top + 8, left : left + 8])


def test_every_mode_becomes_rgb(tmp_path):
    pictures = {
        "grey": Image.new("L", (8, 8), 77),
        "bits": Image.new("1", (8, 8), 1),
        "alpha": Image.new("RGBA", (8, 8), (1, 2, 3, 0)),
        "palette": Image.new("P", (8, 8), 0),
    }
    pictures["palette"].putpalette([9, 8, 7])
    expected = {
        "grey": (77, 77, 77),
        "bits": (255, 255, 255),
        "alpha": (1, 2, 3),
        "palette": (9, 8, 7),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.png")
    images = read_images([tmp_path / f"{name}.png" for name in pictures], 8)
    for image, name in zip(images, pictures, strict=True):
        assert (image == expected[name]).all(), name


def test_palette_with_transparency(tmp_path):
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([50, 60, 70] + [0] * 765)
    picture.save(tmp_path / "x.png", transparency=bytes([0] * 256))
    (image,) = read_images([tmp_path / "x.png"], 8)
    assert (image == (50, 60, 70)).all()


def refusal(root, fraction=0.2):
    with pytest.raises(DatasetError) as caught:
        find_images(root, fraction)
    return str(caught.value)


def names(listing):
    return [path.name for path in listing.paths]


def test_jpegs_by_other_suffixes_are_taken_and_others_counted_by_suffix(tmp_path):
    make(tmp_path, "a/x.png", "b/y.png")
    for name in ("w.jfif", "v.JPE"):
        Image.new("RGB", (8, 8)).save(tmp_path / "a" / name, format="JPEG")
    for name in ("1.avif", "2.AVIF", "3.heic", "README", ".DS_Store"):
        (tmp_path / "b" / name).write_bytes(b"x")
    (tmp_path / "b" / "more").mkdir()
    folder = find_images(tmp_path, 0.2)
    assert names(folder.train) == ["v.JPE", "w.jfif", "x.png", "y.png"]
    assert folder.ignored == 6
    (remark,) = folder.remarks
    expected = "ignored in the class folders: 2 .avif, 1 .heic, 1 folders, 1 without a suffix"
    assert remark == expected


def test_a_class_of_files_that_are_not_read_says_which(tmp_path):
    make(tmp_path, "a/x.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.heic").write_bytes(b"x")
    assert "b holds no image file" in refusal(tmp_path)
    assert "but 1 .heic; add some" in refusal(tmp_path)


def test_accents_in_either_spelling_are_one_class(tmp_path):
    composed, apart = "na\u00efve", "nai\u0308ve"
    make(
        tmp_path, f"train/{apart}/x.png", "train/b/y.png", f"test/{composed}/z.png", "test/b/w.png"
    )
    folder = find_images(tmp_path, None)
    assert folder.class_names == ("b", composed)
    assert folder.test is not None
    assert names(folder.test) == ["w.png", "z.png"]
    make(tmp_path, f"train/{composed}/x.png")
    assert f"holds the class {composed!r} in 2 folders" in refusal(tmp_path, None)
    assert r"nai\u0308ve" in refusal(tmp_path, None)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "a\u00a0b",
            r"'a\xa0b', whose name holds a letter that cannot be seen, U+00A0 (no-break space)",
        ),
        ("a\u200db", "U+200D (zero width joiner)"),
        ("a\u200cb", "U+200C (zero width non-joiner)"),
        ("a\nb", "U+000A (a control character)"),
        ("a\udcff", r"'a\udcff', whose name is not UTF-8: rename it"),
        ("x" * 201, "more than 200 letters"),
    ],
)
def test_names_that_no_store_takes_are_refused_at_once(name, problem, tmp_path):
    make(tmp_path, f"{name}/x.png", "b/y.png")
    assert problem in refusal(tmp_path)
    with pytest.raises(ValueError, match="class_names: "):
        dataset_info((name, "b"))


def dataset_info(class_names):
    return DatasetInfo(
        name="imagefolder",
        fingerprint="0" * 64,
        train_images=1,
        test_images=1,
        classes=len(class_names),
        class_names=class_names,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


@pytest.mark.parametrize("name", ["[red]", "Käse & Brot", "猫", "x" * 200, "a b"])
def test_names_that_a_store_takes_are_taken(name, tmp_path):
    make(tmp_path, f"{name}/x.png", "b/y.png")
    assert name in find_images(tmp_path, 0.2).class_names
    assert dataset_info((name, "b")).class_names == (name, "b")


def test_a_class_called_train(tmp_path):
    make(tmp_path, "bus/x.png", "test/y.png", "train/z.png")
    folder = find_images(tmp_path, 0.2)
    assert folder.class_names == ("bus", "test", "train")
    assert folder.test is None
    make(tmp_path, "train/thumbnails/z.png")
    assert find_images(tmp_path, 0.2).class_names == ("bus", "test", "train")
    (tmp_path / "train" / "z.png").unlink()
    assert "train holds folders, as of classes, and so does" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_is_the_test_set_where_there_is_no_other(name, tmp_path):
    make(tmp_path, "train/a/x.png", "train/b/y.png", f"{name}/a/z.png", f"{name}/b/w.png")
    make(tmp_path, "unlabelled/q.png")
    folder = find_images(tmp_path, None)
    assert folder.test is not None
    assert names(folder.test) == ["z.png", "w.png"]
    assert folder.remarks == (
        f"the test images are those of {name}",
        "not used: the folders unlabelled beside train",
    )
    assert f"has a folder `{name}`; set dataset.test_fraction: null" in refusal(tmp_path, 0.2)


def test_test_goes_before_val_unless_its_images_have_no_classes(tmp_path):
    make(tmp_path, "train/a/x.png", "train/b/y.png", "val/a/z.png", "val/b/w.png")
    make(tmp_path, "test/1.png")
    folder = find_images(tmp_path, None)
    assert folder.test is not None
    assert names(folder.test) == ["z.png", "w.png"]
    assert folder.remarks[1] == "not used: the folders test beside train"
    (tmp_path / "test" / "1.png").unlink()
    make(tmp_path, "test/a/1.png", "test/b/2.png")
    folder = find_images(tmp_path, None)
    assert folder.test is not None
    assert names(folder.test) == ["1.png", "2.png"]
    assert folder.remarks == ("not used: the folders val beside train",)


def test_a_test_set_without_classes_says_what_to_do(tmp_path):
    make(tmp_path, "train/a/x.png", "train/b/y.png", "test/1.png")
    assert "rename it where its images have no classes" in refusal(tmp_path, None)


def test_images_one_level_deeper_in_their_class(tmp_path):
    make(tmp_path, "train/a/images/x.png", "train/b/images/y.png")
    (tmp_path / "train" / "a" / "boxes.txt").write_text("1 2 3 4")
    folder = find_images(tmp_path, 0.2)
    assert names(folder.train) == ["x.png", "y.png"]
    assert folder.remarks == (
        "ignored in the class folders: 1 .txt",
        "read from subfolders of classes: CLASS/images",
    )


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["pets/cat/x.png", "pets/dog/x.png"],
            r"pets meant \(machine.data_root or DECANT_DATA\)\?",
        ),
        (["x/a/1.png", "x/b/1.png", "y/a/1.png", "y/b/1.png"], r"x holds no .* 2 folders of them"),
        (["Train/a/1.png", "Train/b/1.png", "Test/a/1.png"], "expected ROOT/train/CLASS"),
        (["training/a/1.png", "testing/a/1.png"], "expected ROOT/train/CLASS"),
        (["val/a/1.png", "test/a/1.png"], "expected ROOT/train/CLASS"),
        (["train/1.png", "test/2.png"], "expected ROOT/train/CLASS"),
        (["1.png", "2.png"], "holds 0 class folders; expected one folder of images for each"),
    ],
)
def test_other_layouts_say_what_is_expected(paths, message, tmp_path):
    make(tmp_path, *paths)
    assert re.search(message, refusal(tmp_path))


def test_a_link_to_nothing_is_told_when_it_is_read(tmp_path):
    make(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "a" / "gone.png").symlink_to("nowhere")
    paths = find_images(tmp_path, 0.2).train.paths
    with pytest.raises(DatasetError, match=r"gone.png cannot be read as an image: No such file"):
        read_images(paths, 8)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_link_to_a_pipe_is_told_when_it_is_read(tmp_path, monkeypatch):
    """Opened, it would wait for a writer for ever."""
    root = tmp_path / "root"
    make(root, "a/x.png", "b/y.png")
    os.mkfifo(tmp_path / "pipe")
    (root / "a" / "linked.png").symlink_to(tmp_path / "pipe")
    paths = find_images(root, 0.2).train.paths
    assert root / "a" / "linked.png" in paths

    def opened(path, **options):
        assert path.is_file(), path
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(DatasetError, match=r"linked.png cannot be read as an image: it is a pipe"):
        read_images(paths, 8)
