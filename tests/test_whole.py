"""A file is written beside its place and takes it at the end: whole, or what it was before."""

import os

import pytest

from weightdecay.document import Document, write
from weightdecay.whole import write_whole, written


def test_what_was_there_stays_until_all_is_written_and_after_a_failure(tmp_path):
    path = tmp_path / "file"
    assert write_whole(path, "before").read_text() == "before"
    with written(path) as file:
        file.write(b"after")
        file.flush()
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    with pytest.raises(TypeError), written(path) as file:
        file.writelines([b"half", None])
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_that_of_the_file_before_or_of_any_new_file(tmp_path):
    path, usual = tmp_path / "file", tmp_path / "usual"
    usual.write_text("")
    write_whole(path, "new")
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    write_whole(path, "again")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed_and_stays(exists, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    if exists:
        target.write_text("before")
    link.symlink_to("target")
    write_whole(link, "after")
    assert link.is_symlink()
    assert target.read_text() == "after"


def test_what_is_no_file_is_written_itself(tmp_path):
    read, write_end = os.pipe()
    with os.fdopen(read) as reader:
        pipe = tmp_path / "pipe"
        pipe.symlink_to(f"/dev/fd/{write_end}")
        write_whole(pipe, "through")
        os.close(write_end)
        assert reader.read() == "through"


@pytest.mark.parametrize("place", ["nowhere/file", "folder"])
def test_an_error_names_the_file_that_was_meant(place, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which of its kinds depends on the place
        write_whole(tmp_path / place, "text")
    assert caught.value.filename == str(tmp_path / place)
    assert caught.value.filename2 is None


def test_long_names_are_no_trouble(tmp_path):
    for name in ("n" * 255, "λ" * 127):
        assert write_whole(tmp_path / name, "text").read_text() == "text"


def test_a_page_is_written_so(tmp_path):
    path = write(Document(title="t", answer="a", sections=(), facts=(), command="c"), tmp_path, "page")
    assert list(tmp_path.iterdir()) == [path]
