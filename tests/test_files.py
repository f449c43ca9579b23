"""Texts between two marks: replaced whole, or nothing is touched."""

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
