"""What the engine says, as the server and the runner use it; xllamacpp itself, in this process."""

from __future__ import annotations

import argparse
import io
import itertools
import math
import time
from pathlib import Path

import attrs
import pytest
from llama_cpp.llama_chat_format import Jinja2ChatFormatter
from tests.plugins.test_token_stream import ASKED

from lftool.api import FormatError, LoadRequest
from lftool.builtin.python_runtime import PythonRuntime
from lftool_llamacpp.requests import BadRequestError
from lftool_llamacpp.server import load_script
from lftool_xllamacpp import talking
from lftool_xllamacpp.engine import Engine, EngineError, EngineOptions, reason
from lftool_xllamacpp.loading import load as load_without_data
from lftool_xllamacpp.model import Model, renderer
from lftool_xllamacpp.starting import load
from lftool_xllamacpp.templates import ChatTemplate

STORY = Path(__file__).parents[2] / "examples" / "tiny-story" / "tiny-story-f16.gguf"
USER = {"role": "user", "content": "Tell me a story about a fox."}
CONTEXT = 256


@pytest.fixture(scope="module")
def runner():
    return load_script(str(PythonRuntime().runner()))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(EngineOptions(path=str(STORY), context=CONTEXT, threads=1), tmp_path_factory.mktemp("e"))


@pytest.fixture
def model(engine, runner):
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    return Model(engine, renderer(runner, template, {"eos_token": "</s>", "bos_token": "<s>"}, {}), template, CONTEXT)


def said(model: Model, prompt: str = "Once upon a time", **asked):
    """Return the pieces of an answer."""
    wanted = attrs.evolve(ASKED, prompts=(prompt,), sampling={"temp": 0.0}, **asked)
    ((tokens,), stops) = model.prompt_tokens(wanted)
    return list(model.pieces(tokens, (*wanted.stop, *stops), wanted, 1, lambda: None))


def test_text_becomes_tokens_and_tokens_text(model):
    tokens = model.tokens_of("a fox, ein Füchslein", special=False)
    assert model.text_of(tokens).strip() == "a fox, ein Füchslein"
    assert model.tokens_of("a fox", special=True)[1:] == model.tokens_of("a fox", special=False)


def test_an_answer_comes_in_pieces_and_says_why_it_ends(model):
    pieces = said(model, most=6)
    assert "".join(piece.text for piece in pieces).startswith(" there was a")
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
    assert pieces[-1].tokens == 6
    assert model.n_tokens == len(model.tokens_of("Once upon a time", special=True)) + 6


@pytest.mark.parametrize("stop", [(), ("a girl",)], ids=["none", "held back"])
def test_an_answer_ends_at_a_token_which_is_not_shown(engine, runner, stop):
    whole = Model(engine, renderer(runner, "", {}, {}), "", CONTEXT)
    (token,) = whole.tokens_of("girl", special=False)
    model = attrs.evolve(whole, ends=frozenset([token]))
    pieces = said(model, stop=stop, most=60)
    assert "".join(piece.text for piece in pieces).strip() == "there was a"
    assert [piece.finish for piece in pieces] == [None] * (len(pieces) - 1) + ["stop"]


def test_an_answer_is_held_to_the_contracts_grammar(engine, runner):
    model = Model(engine, renderer(runner, "", {}, {}), "", CONTEXT)
    pieces = said(model, grammar='root ::= "yes" | "no"', most=60)
    assert "".join(piece.text for piece in pieces) in {"yes", "no"}


def test_an_answer_ends_at_a_stop_string_which_is_not_shown(model):
    pieces = said(model, stop=("girl",), most=60)
    assert "".join(piece.text for piece in pieces).strip() == "there was a"
    assert pieces[-1].finish == "stop"


@pytest.mark.parametrize("count", [0, 3])
def test_how_likely_tokens_were_is_told(model, count):
    chances = [chance for piece in said(model, most=4, logprobs=count) for chance in piece.chances]
    assert len(chances) == 4
    assert [len(chance.others) for chance in chances] == [count] * 4
    assert all(chance.logprob <= 0 for chance in chances)
    assert b"".join(chance.text for chance in chances).startswith(b" there was")


def test_biases_and_grammars_are_passed_on(model):
    (fox,) = {tokens[-1] for tokens in [model.tokens_of("a fox", special=False)]}
    assert "fox" in "".join(piece.text for piece in said(model, most=3, biases={fox: 100.0}))
    assert "".join(piece.text for piece in said(model, most=9, grammar='root ::= "yes"')) == "yes"


def test_a_caller_that_goes_ends_the_work(model):
    class GoneError(Exception):
        pass

    calls = itertools.count()

    def check():
        if next(calls) > 2:
            raise GoneError

    wanted = attrs.evolve(ASKED, prompts=("Once",))
    ((tokens,), _) = model.prompt_tokens(wanted)
    with pytest.raises(GoneError):
        list(model.pieces(tokens, (), wanted, None, check))
    until = time.monotonic() + 20
    while model.engine.ask("/slots")[0]["is_processing"]:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_runner_gets_parts_as_of_llama_cpp_python(model):
    steps: list[tuple[int, int]] = []
    model.progress = lambda done, whole: steps.append((done, whole))
    parts = list(model.create_completion("Once upon a time", stream=True, temperature=0.0, max_tokens=5, stop="fox"))
    assert "".join(part["choices"][0]["text"] for part in parts).startswith(" there was")
    assert parts[-1]["choices"][0]["finish_reason"] == "length"
    assert steps[-1][0] == steps[-1][1] > 0
    chat = list(model.create_chat_completion([USER], stream=True, temperature=0.0, max_tokens=5))
    assert "".join(part["choices"][0]["delta"]["content"] for part in chat)
    assert (model.chats, len(model.input_ids), list(model.metadata)) == (True, CONTEXT, ["tokenizer.chat_template"])


def test_a_prompt_without_room_for_an_answer_is_refused(model):
    with pytest.raises(ValueError, match=r"Requested tokens \(\d+\) exceed context window of 256"):
        list(model.create_completion("fox " * 400, stream=True))


def test_an_empty_prompt_has_a_token(model):
    assert model.prompt_tokens(attrs.evolve(ASKED, prompts=("", (5, 6))))[0] == [[1], [5, 6]]


def test_what_the_engine_refuses_is_said(engine):
    with pytest.raises(EngineError, match="does not support embeddings"):
        engine.ask("/v1/embeddings", {"input": "x"})
    with pytest.raises(EngineError):
        list(engine.events("/completion", {"prompt": [1], "grammar": "root ::= ("}))


TEMPLATES = {
    "a loop": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}{{ bos_token }}",
    "blocks on their own lines": "{% if messages %}\n  yes\n{% endif %}\n",
    "a break": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "JSON": "{{ tools | tojson }}{{ tools | tojson(indent=2) }}{{ {'b': '<ü>', 'a': 1} | tojson(sort_keys=true) }}",
    "what is trained": "{% generation %}{{ messages[0].content }}{% endgeneration %}",
    "the prompt of an answer": "{% if add_generation_prompt %}assistant:{% endif %}",
    "the year": "{{ strftime_now('%Y') }}",
    "a variable": "{{ enable_thinking is defined and enable_thinking }}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_a_template_renders_as_in_llama_cpp_python(template):
    given = {"messages": [USER, USER], "tools": [{"name": "ü<"}], "enable_thinking": True}
    ours = ChatTemplate(template, "</s>", "<s>")(**given)
    theirs = Jinja2ChatFormatter(template, eos_token="</s>", bos_token="<s>")(**given)
    assert (ours.prompt, ours.added_special) == (theirs.prompt, theirs.added_special)


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{{ messages.x.y }}"])
def test_a_template_that_refuses_is_a_bad_request(engine, runner, template):
    model = Model(engine, renderer(runner, template, {"eos_token": "", "bos_token": ""}, {}), template, CONTEXT)
    with pytest.raises(BadRequestError, match="the chat template refuses the conversation"):
        model.prompt_tokens(attrs.evolve(ASKED, chat=True, messages=(USER,)))


def test_a_model_without_a_template_goes_on_with_what_is_said(runner):
    assert renderer(runner, "", {}, {})(messages=[USER, {"content": "And?"}]).prompt == f"{USER['content']}\nAnd?"


def test_the_name_of_a_template_is_refused(runner):
    with pytest.raises(ValueError, match="xllamacpp needs a template, not the name of one"):
        renderer(runner, "chatml", {}, {})(messages=[USER])


@pytest.mark.parametrize("vectors", [False, True], ids=["text", "vectors"])
def test_a_model_is_loaded_as_its_contract_says(runner, tmp_path, monkeypatch, vectors):
    monkeypatch.setenv("LFTOOL_SOCKETS", str(tmp_path))
    bundle = runner.Bundle(str(STORY))
    bundle.contract = {"context": 300, "seed": 9}
    model, kind = load(runner, bundle, argparse.Namespace(threads=1, think=None), embeddings=vectors)
    assert (kind, model.context, model.seed) == ("embeds" if vectors else "generates", 300, 9)
    if vectors:
        vector, count = model.vector("a fox")
        assert math.isclose(sum(value * value for value in vector), 1, rel_tol=1e-4)
        assert count == len(model.tokens_of("a fox", special=True))
        with pytest.raises(ValueError, match="exceed context window of 300"):
            model.vector("fox " * 400)
    else:
        assert model.chats


def test_an_adapter_in_a_bundle_is_refused(runner):
    bundle = runner.Bundle(str(STORY))
    bundle.adapter = 5
    with pytest.raises(SystemExit, match="does not take the LoRA adapter"):
        load(runner, bundle, argparse.Namespace(threads=1, think=None))


class Written(io.BytesIO):
    """A log that gets more every time it is read."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self.pieces = list(pieces)

    def read(self, size: int | None = -1) -> bytes:
        if self.pieces:
            self.seek(0, io.SEEK_END)
            self.write(self.pieces.pop(0))
            self.seek(0)
        return super().read(size)


def test_a_reason_that_is_logged_late_is_waited_for():
    """llama.cpp logs in a thread of its own: line by line, or half a line, and perhaps after it has failed."""
    log = Written(
        b"", b"0.0 I llama: so far so good\n", b"0.1 E llama_model_load: error loading", b" model: bad\n0.2 E failed\n"
    )
    assert reason(log) == "bad"


def test_nobody_waits_for_a_reason_for_ever():
    assert reason(Written(b"0.0 I llama: nothing is wrong\n"), patience=0.05) == "it does not say why"


def test_a_model_is_tried_without_its_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_without_data(LoadRequest(weights=STORY)).warnings == ()
    (tmp_path / "cut.gguf").write_bytes(STORY.read_bytes()[:-100_000])
    with pytest.raises(FormatError, match=r"llama.cpp cannot load the weights: tensor '.*' data is not within"):
        load_without_data(LoadRequest(weights=tmp_path / "cut.gguf"))
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gguf"]


def test_progress_of_a_long_prompt_is_shown_on_a_terminal_and_taken_away(monkeypatch, capsys):
    monkeypatch.setattr(talking.sys.stderr, "isatty", lambda: True)
    looked: list[int] = []
    reading = talking.Reading(look=lambda: looked.append(1))
    reading.step(0, 12)
    assert capsys.readouterr().err == ""
    reading.step(512, 1024)
    reading.erase()
    reading.erase()
    assert capsys.readouterr().err == f"\rreading the prompt: 50 %\r{' ' * 24}\r"
    assert len(looked) == 2
