"""The four kinds of example."""

from mmsrarec.retrieve import ContextBuilder
from mmsrarec.tune import choose_next, match_keywords, next_keywords, yes_no, yes_no_prompt


def test_yes_no_shows_evidence_before_the_candidate(catalogue, builder: ContextBuilder) -> None:
    history = catalogue.histories()[0]
    [context] = builder.build([history[:-1]])
    candidate = int(history[-1])
    example = yes_no(context, builder.view, candidate, True)
    assert example.answer == "yes"
    assert yes_no(context, builder.view, candidate, False).answer == "no"
    before, picture, after = example.prompt.content
    assert context.history_text(builder.view) in before
    assert context.neighbours_text(builder.view) in before
    assert picture.key == builder.view.picture(candidate).key
    assert after.startswith(builder.view.candidate_text(candidate))


def test_prompts_of_one_user_share_all_but_the_candidate(catalogue, builder: ContextBuilder) -> None:
    [context] = builder.build([catalogue.histories()[0]])
    beginnings = {yes_no_prompt(context, builder.view, item).content[0] for item in range(8)}
    assert len(beginnings) == 1


def test_choices_carry_the_answer_at_its_letter(catalogue, builder: ContextBuilder) -> None:
    [context] = builder.build([catalogue.histories()[0]])
    example = choose_next(context, builder.view, [3, 7, 5], 1)
    assert example.answer == "B"
    assert f"B) {', '.join(builder.view.keywords(7))}" in example.prompt.text


def test_match_shows_titles_but_not_the_keywords_of_the_options(builder: ContextBuilder) -> None:
    example = match_keywords(builder.view, [3, 7], 0)
    assert example.answer == "A"
    assert f"A) {builder.view.contents[3].title}" in example.prompt.text
    assert example.prompt.text.count(", ".join(builder.view.keywords(3))) == 1


def test_next_keywords_are_the_answer(catalogue, builder: ContextBuilder) -> None:
    [context] = builder.build([catalogue.histories()[0]])
    assert next_keywords(context, builder.view, 4).answer == ", ".join(builder.view.keywords(4))
