"""Which files are opened as the images of an annotation, and which never."""

import os
import threading

import pytest
from data_trees import own_config, write_images

import data_pipelines
from data_pipelines.image_folders import ImageFolders, OutsideError
from ggnet_jax.errors import UserError


@pytest.fixture
def tree(tmp_path):
    """A folder with an image and odd files, and an image beside it."""
    write_images(tmp_path / "images" / "sub", ["in.png"])
    write_images(tmp_path, ["out.png"])
    folder = tmp_path / "images"
    os.mkfifo(folder / "fifo.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "out.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "deep").mkdir()
    (folder / "down").symlink_to(tmp_path / "deep")  # so that down/.. is not the folder
    (folder / "away").symlink_to(tmp_path)
    (folder / "in.png").symlink_to(folder / "sub" / "in.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "images_too").mkdir()  # begins like the folder
    write_images(tmp_path / "images_too", ["b.png"])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("images/in.png", "in.png"),
        ("images\\in.png", "in.png"),
        ("IN.PNG", "in.png"),
        ("in.jpg", "in.png"),
        ("in", "in.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),  # as macOS writes it
    ],
)
def test_a_file_that_is_only_called_otherwise_is_named(tmp_path, name, file):
    write_images(tmp_path, [file])
    folders = ImageFolders([str(tmp_path)])
    with pytest.raises(UserError, match=r"none of the 1 images of f\.json") as caught:
        folders.check_any([name], "f.json", "")
    assert f"{file!r} is there: folder, letters, case and ending" in str(caught.value)
    with pytest.raises(UserError) as caught:
        folders.check_any(["other.png"], "f.json", "")
    assert "is there" not in str(caught.value)


def read_in_time(folders, name):
    """What `read` gives or raises; a failure if it waits for anything."""
    result = []

    def work():
        try:
            result.append(folders.read(name))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert result, f"{name} hangs"
    return result[0]


OUTSIDE = ("../out.png", "sub/../../out.png", "down/../out.png", "../images_too/b.png")


@pytest.mark.parametrize("name", ["in.png", "sub/in.png", "../images/in.png", "away/images/in.png"])
def test_what_lies_in_the_folder_is_read(tree, name):
    expected = (tree / "images" / "sub" / "in.png").read_bytes()
    assert read_in_time(ImageFolders([str(tree / "images")]), name) == expected
    (tree / "link").symlink_to(tree / "images")  # the folder itself may be a link
    assert read_in_time(ImageFolders([str(tree / "link")]), name) == expected
    absolute = str(tree / "images" / "in.png")
    assert read_in_time(ImageFolders([str(tree / "link")]), absolute) == expected


@pytest.mark.parametrize("name", [*OUTSIDE, "{}/out.png"])
def test_what_lies_outside_is_refused_unless_allowed(tree, name):
    name = name.format(tree)
    folders = [str(tree / "images")]
    assert isinstance(read_in_time(ImageFolders(folders), name), OutsideError)
    allowed = read_in_time(ImageFolders(folders, allow_outside=True), name)
    assert allowed == (tree / "images" / name).read_bytes()


@pytest.mark.parametrize("name", ["out.png", "away/out.png"])
def test_links_that_the_folder_has_are_followed(tree, name):
    folders = ImageFolders([str(tree / "images")])
    assert read_in_time(folders, name) == (tree / "out.png").read_bytes()


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fifo.png", OSError),
        ("folder.png", OSError),
        ("zero.png", OSError),
        ("loop.png", OSError),
        ("/dev/stdin", OSError),
        ("gone.png", FileNotFoundError),
        ("no.png", FileNotFoundError),
        ("in.png/x.png", FileNotFoundError),
        ("long" * 99, OSError),
        ("nul\0.png", ValueError),
    ],
)
def test_what_is_no_plain_file_ends_in_an_error_and_never_waits(tree, outside, name, error):
    folders = ImageFolders([str(tree / "images")], allow_outside=outside)
    assert isinstance(read_in_time(folders, name), error)
    assert folders.changes(folders.record()) == []


def test_the_first_folder_and_the_first_name_count(tree):
    def names(name):
        return name, "in.png"

    folders = ImageFolders([str(tree / "images_too"), str(tree / "images")], names)
    assert folders.read("b.png") == (tree / "images_too" / "b.png").read_bytes()
    assert folders.read("c.png") == (tree / "images" / "in.png").read_bytes()
    # A file that is refused does not hide the next.
    assert folders.read("../out.png") == (tree / "images" / "in.png").read_bytes()


def test_a_file_larger_than_any_image_is_not_read(tree):
    os.truncate(tree / "images" / "sub" / "in.png", 1 << 40)
    with pytest.raises(ValueError, match=r"in\.png"):
        ImageFolders([str(tree / "images")]).read("in.png")


def test_a_builder_counts_what_it_refuses_and_takes_it_where_that_is_asked_for(tree):
    names = ["sub/in.png", *OUTSIDE, "fifo.png", "loop.png", str(tree / "out.png")]
    entries = [{"file_name": name, "annotations": [], "hoi_annotation": []} for name in names]
    entries[0]["annotations"] = [{"bbox": [1, 2, 20, 40], "category_id": k} for k in (1, 2)]
    relation = {"subject_id": 0, "object_id": 1, "category_id": 1}
    entries[0]["hoi_annotation"] = [relation]
    config = own_config(tree, entries, entries)
    dataset = data_pipelines.load_dataset(config.data)
    findings = dataset.builder.metadata["reports"]["train"]["findings"]
    assert findings["image_outside"]["count"] == len(OUTSIDE) + 1
    assert findings["image_unreadable"]["count"] == 2
    assert dataset.num_train == 1
    config.data.allow_outside_images = True
    assert data_pipelines.load_dataset(config.data).num_train == len(OUTSIDE) + 2


def test_images_that_are_all_outside_are_an_error_that_says_how_to_take_them(tree):
    entries = [{"file_name": "../out.png", "annotations": [], "hoi_annotation": []}]
    config = own_config(tree, entries, entries)
    with pytest.raises(UserError, match=r"1 lie.* outside.*data\.allow_outside_images=True"):
        data_pipelines.load_dataset(config.data)
