from pathlib import Path

from benchmarks.report import table, write_section


def test_a_section_is_replaced_and_its_neighbours_stay(tmp_path: Path):
    page = tmp_path / "benchmarks.md"
    write_section("speed", "slow", page)
    write_section("quality", "good", page)
    write_section("speed", "fast", page)
    assert page.read_text() == (
        "# Benchmarks\n\n<!-- speed -->\nfast\n<!-- /speed -->\n\n<!-- quality -->\ngood\n<!-- /quality -->\n"
    )


def test_tables_keep_the_first_column_to_the_left():
    assert table(["", "dB"], [["input", 7.77]]) == "|  | dB |\n| --- | --: |\n| input | 7.77 |"
