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


def test_a_table_is_markdown():
    assert table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"
