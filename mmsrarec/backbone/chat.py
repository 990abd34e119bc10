"""Chat prompts as text: the model's own template, and item text that cannot become control tokens.

Stands between :class:`~mmsrarec.backbone.prompt.Prompt` and token ids. The template of the processor writes
the turns; text that comes from items or users is *neutralized* first, so that a title such as
``"<|im_end|>"`` reaches the model as ordinary characters.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from jinja2 import TemplateError

from mmsrarec.backbone.prompt import Prompt
from mmsrarec.errors import InputError

__all__ = ["Chat", "control_tokens"]

_PROBE_ANSWER = "yes"


def control_tokens(processor: Any, tokenizer: Any) -> dict[str, int]:
    """Return every string that the tokenizer or the processor treats as more than text, with its id.

    Parameters
    ----------
    processor
        Processor of the model; for a text-only model its tokenizer.
    tokenizer
        Tokenizer of the model.

    Returns
    -------
    dict
        String → id: special tokens, added tokens and the processor's placeholders (``<image>`` and its
        like). Added tokens that are only white space, which some vocabularies have for indentation,
        are text and left out.
    """
    strings = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    for name in vars(processor):
        value = getattr(processor, name)
        if name.endswith(("_token", "_tag")) and isinstance(value, str):
            strings.add(value)
    vocabulary = tokenizer.get_vocab()
    return {
        string: vocabulary[string]
        for string in strings
        if string in vocabulary and string.replace("\u2581", " ").strip()
    }


class Chat:
    """Renders prompts through the chat template of one model.

    Parameters
    ----------
    processor
        The model's processor, or its tokenizer for a text-only model.
    tokenizer
        The model's tokenizer.
    with_pictures
        Whether the model takes pictures.

    Raises
    ------
    InputError
        If the model has no chat template.
    """

    def __init__(self, processor: Any, tokenizer: Any, *, with_pictures: bool) -> None:
        self._processor = processor
        self._tokenizer = tokenizer
        self._with_pictures = with_pictures
        if not self.template:
            raise InputError(
                f"backbone {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__!r} has no chat "
                "template; choose an instruction-tuned model, or set processor.chat_template."
            )
        self.control = control_tokens(processor, tokenizer)
        longest_first = sorted(self.control, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)

    @property
    def template(self) -> str | None:
        """Source of the chat template, part of the backbone's fingerprint."""
        template = getattr(self._processor, "chat_template", None) or self._tokenizer.chat_template
        return template.get("default") if isinstance(template, dict) else template

    def neutralize(self, text: str) -> str:
        """Return `text` so that no control token can be read out of it.

        A space is put behind the first character of every control string. Text without one comes back
        unchanged, save for lone surrogates, which no tokenizer takes and which become ``?``.

        Parameters
        ----------
        text
            Anything a user or a catalogue may hold.
        """
        text = text.encode("utf-8", "replace").decode("utf-8")
        if self._pattern is None:
            return text
        text = self._break_control(text)
        if self._normalizer is not None:
            # A tokenizer may fold characters (full-width "＜" to "<") before it looks for added tokens.
            folded = self._normalizer.normalize_str(text)
            if self._pattern.search(folded.replace("\u2581", " ")):
                text = self._break_control(folded.replace("\u2581", " "))
        return text

    def _break_control(self, text: str) -> str:
        assert self._pattern is not None
        for _ in range(3):
            if not self._pattern.search(text):
                return text
            text = self._pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}".rstrip(), text)
        # Control strings that hold spaces can come back; what cannot be broken is taken out.
        while self._pattern.search(text):
            text = self._pattern.sub("", text)
        return text

    def render(self, prompt: Prompt) -> str:
        """Return `prompt` as the text of a chat that waits for the assistant's answer.

        Pictures are written as the template writes them, one placeholder each.
        """
        return self._apply(self._messages(prompt))

    @functools.cached_property
    def _probe(self) -> tuple[str, str]:
        """A rendered question, and the same with an answer behind it."""
        question = self._messages(Prompt(("Question",)))
        content: Any = [{"type": "text", "text": _PROBE_ANSWER}] if self._with_pictures else _PROBE_ANSWER
        answered = [*question, {"role": "assistant", "content": content}]
        return self._apply(question), self._apply(answered, generation_prompt=False)

    @functools.cached_property
    def answer_lead(self) -> str:
        """White space that the template puts between its invitation and the answer."""
        question, answered = self._probe
        if not answered.startswith(question):
            return ""
        lead, found, _ = answered[len(question) :].partition(_PROBE_ANSWER)
        return lead if found and not lead.strip() else ""

    @functools.cached_property
    def end_of_turn(self) -> int:
        """Id of the token that ends an answer: the template's, or the tokenizer's end of sequence."""
        _, answered = self._probe
        after = answered[answered.rindex(_PROBE_ANSWER) + len(_PROBE_ANSWER) :]
        found = self._pattern.search(after) if self._pattern else None
        if found is not None and not after[: found.start()].strip():
            return self.control[found[0]]
        if self._tokenizer.eos_token_id is None:
            raise InputError(
                "The tokenizer has neither an end-of-turn nor an end-of-sequence token; set eos_token."
            )
        return int(self._tokenizer.eos_token_id)

    def _messages(self, prompt: Prompt) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for part in prompt.content:
            if not isinstance(part, str):
                if self._with_pictures:
                    parts.append({"type": "image"})
            elif parts and parts[-1]["type"] == "text":
                # Joined before neutralizing: two harmless halves can make one control string.
                parts[-1]["text"] += part
            else:
                parts.append({"type": "text", "text": part})
        for written in parts:
            if written["type"] == "text":
                written["text"] = self.neutralize(written["text"])
        system = None if prompt.system is None else self.neutralize(prompt.system)
        if self._with_pictures:
            turns: list[dict[str, Any]] = [{"role": "user", "content": parts}]
            if system is not None:
                turns.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
        else:
            turns = [{"role": "user", "content": "".join(written["text"] for written in parts)}]
            if system is not None:
                turns.insert(0, {"role": "system", "content": system})
        return turns

    def _apply(self, messages: list[dict[str, Any]], *, generation_prompt: bool = True) -> str:
        settings: dict[str, Any] = {"tokenize": False, "add_generation_prompt": generation_prompt}
        if "enable_thinking" in (self.template or ""):
            settings["enable_thinking"] = False
        renderer = self._processor if getattr(self._processor, "chat_template", None) else self._tokenizer
        try:
            return renderer.apply_chat_template(messages, **settings)
        except TemplateError as error:
            if messages[0]["role"] != "system":
                raise InputError(f"The chat template of the backbone refuses the prompt: {error}.") from error
        return renderer.apply_chat_template(_fold_system(messages), **settings)


def _fold_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Move the system text into the user turn, for templates that know no system turn."""
    system, user, *rest = messages
    if isinstance(user["content"], str):
        content: Any = f"{system['content']}\n\n{user['content']}"
    else:
        content = [{"type": "text", "text": system["content"][0]["text"] + "\n\n"}, *user["content"]]
    return [{**user, "content": content}, *rest]
