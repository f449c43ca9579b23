"""What errors say."""

import pytest

from adlib.errors import check_known, first_line


@pytest.mark.parametrize(
    ("error", "line"), [(OSError("no\nyes"), "no"), (ValueError(), "ValueError"), (RuntimeError(" \n"), "RuntimeError")]
)
def test_the_first_line_is_the_messages_or_the_type(error, line):
    assert first_line(error) == line


def test_a_mistyped_name_is_told_what_was_meant():
    check_known("method", "stpm", ["stpm", "rd"])
    with pytest.raises(ValueError, match=r"unknown method 'stmp'; did you mean 'stpm'\? Known: rd, stpm"):
        check_known("method", "stmp", ["stpm", "rd"])
    with pytest.raises(ValueError, match=r"unknown method 'STPM'; did you mean 'stpm'\?"):
        check_known("method", "STPM", ["stpm", "rd"])
    with pytest.raises(ValueError, match=r"unknown method 'xyz'\. Known"):
        check_known("method", "xyz", ["stpm", "rd"])
