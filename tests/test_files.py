"""Files and texts between two marks: replaced whole, or nothing is touched."""

import os

import pytest

from adlib.files import replace_between, whole_file

BEGIN, END = "<!-- begin -->", "<!-- end -->"


def test_only_what_stands_between_the_marks_is_replaced_and_twice_is_once(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter, with {END} again\n")
    for text in ("first", "second"):
        replace_between(page, BEGIN, END, text)
    assert page.read_text() == f"before\n{BEGIN}\n\nsecond\n\n{END}\nafter, with {END} again\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_page_without_the_marks_in_their_order_is_named_and_left_as_it_was(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page\.md has to hold the lines <!-- begin --> and, below it, <!-- end -->"):
        replace_between(page, BEGIN, END, "new")
    assert page.read_text() == text
    assert list(tmp_path.iterdir()) == [page]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OSError, match=r"file/x\.csv could not be written .*; choose another folder"),
        whole_file(tmp_path / "file" / "x.csv"),
    ):
        pass


def test_a_link_stays_one_and_what_it_names_is_replaced(tmp_path):
    target, link = tmp_path / "elsewhere" / "scores.csv", tmp_path / "scores.csv"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    with whole_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_pipe_or_a_device_is_no_file_to_replace(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"pipe is a device or a pipe, .*; name a file"), whole_file(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_the_longest_name_can_be_written(tmp_path, letter):
    name = letter * (255 // len(letter.encode()))
    with whole_file(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / name).read_text() == "whole"
