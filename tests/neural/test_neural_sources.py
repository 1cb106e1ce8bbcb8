"""The lines of Python's own library, as the experiments read them."""

from __future__ import annotations

from driftmoe.neural import sources

FILE = '''"""What the module does,
at some length."""

import itertools
# how long a line may be
LONGEST_LINE = 80  # not the shortest one


def answer(question):
    """Return what was asked for."""
    for word in question.split():
        yield word.upper()
    return """a text
of several lines"""
'''


def test_lines_of_a_file_are_code_docstrings_or_comments():
    code, docstrings, comments = sources._kinds(sources.Source("a/b.py", FILE, False))
    assert code == [
        "import itertools",
        "def answer(question):",
        "for word in question.split():",
        "yield word.upper()",
    ]
    assert docstrings == ["What the module does,", "at some length.", "Return what was asked for."]
    assert comments == ["how long a line may be"]


def test_a_file_that_cannot_be_parsed_has_no_lines():
    assert sources._kinds(sources.Source("a.py", "def (", False)) == ([], [], [])


def test_about_a_fifth_of_the_files_is_held_out_and_none_is_on_both_sides():
    held_out = [source.path for source in sources.sources() if source.is_held_out]
    assert 0.1 < len(held_out) / len(sources.sources()) < 0.3
    assert not set(held_out) & {source.path for source in sources.sources() if not source.is_held_out}
    assert not any("site-packages" in source.path or "/test/" in source.path for source in sources.sources())


def test_each_task_has_the_same_answers_to_learn_and_to_be_asked_for():
    for task, lines in sources.tasks().items():
        learnt, held_out = (
            {line.target for line in lines if line.is_held_out == side} for side in (False, True)
        )
        assert learnt == held_out, task
        assert 3 <= len(learnt) <= sources.N_CLASSES


def test_a_table_of_all_lines_learnt_would_not_know_a_held_out_one():
    for lines in sources.tasks().values():
        learnt = {line.text for line in lines if not line.is_held_out}
        held_out = [line.text for line in lines if line.is_held_out]
        assert not learnt & set(held_out)
        assert len(set(held_out)) == len(held_out)


def test_a_blanked_line_does_not_tell_its_keyword():
    line = next(line for line in sources.tasks()["keyword"] if line.target == "raise")
    assert "[MASK]" in line.text
    assert not line.text.startswith("raise ")
