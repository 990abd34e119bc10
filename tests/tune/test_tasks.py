"""The four kinds of example."""

import numpy as np

from mmsrarec.retrieve import ContextBuilder, ItemView
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


def test_what_is_known_of_one_candidate_stands_behind_it(catalogue, builder: ContextBuilder) -> None:
    history = catalogue.histories()[0]
    [context] = builder.build([history])
    items = np.array([item for item in range(catalogue.n_items) if item not in history])
    [evidence] = builder.evidence([history], [items], exclude_users=np.array([0]))
    told = [paths.text(builder.view) for paths in evidence]
    assert len(set(told)) > 2
    prompts = [
        yes_no_prompt(context, builder.view, int(item), paths)
        for item, paths in zip(items, evidence, strict=True)
    ]
    assert len({prompt.content[0] for prompt in prompts}) == 1
    for prompt, line in zip(prompts, told, strict=True):
        assert line in prompt.content[-1]


def test_words_and_pictures_can_be_left_out(catalogue, builder: ContextBuilder) -> None:
    view = builder.view
    plain = ItemView(
        view.contents,
        view.all_keywords,
        lambda text, tokens: text,
        texts=["said"] * len(view),
        pictures=False,
    )
    [context] = builder.build([catalogue.histories()[0]])
    example = yes_no(context, plain, 4, True)
    assert len(example.prompt.content) == 1
    assert "- said\n- said" in example.prompt.text
    assert "Keywords:" not in example.prompt.text
    assert view.contents[4].title in example.prompt.text
    assert next_keywords(context, plain, 4).answer == "said"
    assert plain.picture(4) is not None


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
