"""What a text is found by: words, names in code, numbers, and scripts without spaces."""

from __future__ import annotations

import pytest

from offline_assistants.file_search.terms import MAX_QUERY_TERMS, TERM_PUNCTUATION, index_terms, query_terms


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("max_num_results", "Set max_num_results to 20."),
        ("num results", "Set max_num_results to 20."),
        ("WindowHit", "class WindowHit:"),
        ("window hits", "class WindowHit:"),
        ("HTTPServerError", "raise HTTPServerError(404)"),
        ("http server", "raise HTTPServerError(404)"),
        ("supervisor.cancel_run", "await parts.supervisor.cancel_run(run_id)"),
        ("os.path.join", "use os.path.join here"),
        ("C++", "written in C++ and C#"),
        ("ABC-123", "part ABC-123 is out of stock"),
        ("v1.2.3", "since v1.2.3 it works"),
        ("1234.5", "a total of 1,234.50 euros"),
        ("2,000", "2000 people came"),
        ("me@example.org", "write to me@example.org"),
        ("Müller", "Herr Muller sagte"),
        ("muller", "Herr Müller sagte"),
        ("straße", "in der STRASSE"),
        ("Αθήνα", "η Αθήνα είναι"),
        ("Москва", "столица: МОСКВА"),
        ("東京", "私は東京都に住んでいます"),
        ("都", "東京都"),
        ("서울", "대한민국의 수도는 서울이다"),
        ("กรุงเทพ", "เมืองหลวงคือกรุงเทพมหานคร"),
        ("building houses", "they build a house"),
        ("The Who", "The Who played at Leeds"),
        ("IT department", "Ask the people of IT."),
    ],
)
def test_a_question_shares_terms_with_what_it_asks_for(question: str, text: str):
    assert set(query_terms(question)) & set(index_terms(text))


@pytest.mark.parametrize("name", ["run_id", "WindowHit", "os.path.join", "ABC-123", "C++"])
def test_an_exact_name_shares_more_than_its_parts(name: str):
    asked = set(query_terms(name))

    exact, parts = set(index_terms(f"the {name} here")), set(index_terms("run id window hit os path join abc 123 c"))

    assert asked <= exact
    assert not asked <= parts


def test_small_words_are_not_asked_for_unless_there_are_no_others():
    assert query_terms("What is the capital of France?") == ["capit", "franc"]
    assert query_terms("to be or not to be") == ["to", "be", "or", "not"]


def test_acronyms_are_no_small_words():
    assert "it" in query_terms("Who leads IT?")
    assert "it" not in query_terms("Who leads it?")


def test_a_term_is_asked_for_once_and_a_long_question_by_its_beginning():
    assert query_terms("llama llama Llamas") == ["llama"]
    assert len(query_terms(" ".join(f"word{number}" for number in range(1000)))) == MAX_QUERY_TERMS


@pytest.mark.parametrize("text", ["", " \n\t", "!?…", "\ud800 lone", "a" * 100_000, "_" * 500, "a.b" * 5000, "'’", "日" * 1000])
def test_any_text_has_terms_that_the_index_can_hold(text: str):
    for term in [*index_terms(text), *query_terms(text)]:
        assert term
        assert len(term) <= 100
        assert all(character.isalnum() or not character.isascii() or character in TERM_PUNCTUATION for character in term), term
