from pathlib import Path

import pytest

from benchmarks.pages import markdown_table, replace_section


def test_only_the_named_section_is_replaced(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- one -->\nold\n<!-- /one -->\nkept\n<!-- two -->\n<!-- /two -->\n")
    for text in ("first", "second\n"):
        replace_section(page, "one", text)
    assert page.read_text() == ("# A\n<!-- one -->\n\nsecond\n\n<!-- /one -->\nkept\n<!-- two -->\n<!-- /two -->\n")


def test_a_page_without_the_section_is_refused_and_left_alone(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- one -->\nno end\n")
    with pytest.raises(ValueError, match="has no section one"):
        replace_section(page, "one", "text")
    assert page.read_text() == "# A\n<!-- one -->\nno end\n"


def test_tables_keep_the_first_column_to_the_left():
    assert markdown_table(["", "dB"], [["input", "7.77"]]) == "|  | dB |\n| --- | --: |\n| input | 7.77 |"
