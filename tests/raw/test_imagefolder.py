import numpy as np
import pytest
from PIL import Image

from pipeline.core.dataset import DatasetError
from pipeline.raw.image_files import read_images
from pipeline.raw.imagefolder import find_images


def make(root, *paths, size=(8, 8)):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (10, 20, 30)).save(root / path)


def test_classes_and_files_come_in_the_order_of_their_names(tmp_path):
    make(
        tmp_path, "train/b/2.png", "train/b/10.png", "train/a/x.png", "test/a/y.png", "test/b/z.png"
    )
    found = find_images(tmp_path, None)
    assert found.class_names == ("a", "b")
    assert [path.name for path in found.train.paths] == ["x.png", "10.png", "2.png"]
    assert found.train.labels.tolist() == [0, 1, 1]
    assert found.test is not None
    assert [path.name for path in found.test.paths] == ["y.png", "z.png"]


def test_folders_of_classes_alone_have_no_test_set(tmp_path):
    make(tmp_path, "a/x.png", "b/y.JPG")
    found = find_images(tmp_path, 0.2)
    assert found.test is None
    assert found.class_names == ("a", "b")
    assert len(found.train.paths) == 2


def test_train_without_test_has_no_test_set(tmp_path):
    make(tmp_path, "train/a/x.png", "train/b/y.png")
    assert find_images(tmp_path, 0.2).test is None


def test_other_files_are_counted_and_hidden_ones_are_not_images(tmp_path):
    make(tmp_path, "a/x.png", "a/.hidden.png", "b/y.png", ".git/z.png")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    found = find_images(tmp_path, 0.2)
    assert found.class_names == ("a", "b")
    assert [path.name for path in found.train.paths] == ["x.png", "y.png"]
    assert found.ignored == 2


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
    (found,) = read_images([tmp_path / "x.png"], 8)
    scale = 8 / min(width, height)
    whole = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    pixels = np.asarray(whole)
    top, left = (pixels.shape[0] - 8) // 2, (pixels.shape[1] - 8) // 2
    np.testing.assert_array_equal(found, pixels[top : top + 8, left : left + 8])


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
    (found,) = read_images([tmp_path / "x.png"], 8)
    assert (found == (50, 60, 70)).all()


def test_images_are_turned_upright(tmp_path):
    picture = Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: turn clockwise by 90 degrees to show
    picture.save(tmp_path / "x.png", exif=exif)
    (found,) = read_images([tmp_path / "x.png"], 8)
    np.testing.assert_array_equal(found, np.rot90(np.asarray(picture), k=-1))


def test_deep_images_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 1000, dtype=np.uint16)).save(tmp_path / "x.png")
    with pytest.raises(DatasetError, match="more than 8 bits a channel"):
        read_images([tmp_path / "x.png"], 8)
