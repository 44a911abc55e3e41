"""The graph of a build: what it has, and how pure functions rewrite it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import attrs
import pytest

from lftool.cli.graph_pictures import mermaid, svg
from lftool.codec.recipes import parse_recipe
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import (
    Lock,
    LockedConvert,
    LockedFile,
    LockedPack,
    LockedQuantize,
    LockedRecipe,
    LockedSource,
    LockedTarget,
    LockedTool,
)
from lftool.pipeline.graph.graphs import Present, Requests, build_graph, fuse, only_pins, prune, rebuild
from lftool.pipeline.graph.steps import Convert, Fetch, Graph, Pack, Product, Quantize, Sign, TransformRequest
from lftool.pipeline.model.parts import model_parts

RECIPE = """\
[bundle]
name = "story"
version = "1"
[sources.base]
uri = "file:model"
[model]
weights = "base"
[targets.q4]
layout = "gguf"
quantize = "Q4_K_M"
[targets.q8]
layout = "gguf"
quantize = "Q8_0"
"""
PLAIN = '[targets.plain]\nlayout = "gguf"\n'
SIGNED = '[sign]\nkey = "file:demo.key"\n'
CHECK = '[[checks]]\nkind = "perplexity"\ntext = "held-out.txt"\nmax_increase = 0.1\n'

CONVERT = TransformRequest(transform="join", produces="source", name="model")


def name_of(text: str) -> Digest:
    return Digest.of(text.encode())


def file(path: str) -> LockedFile:
    return LockedFile(path=path, size=1_000_000, sha256=name_of(path))


PARTS = (file("m-00001-of-00002.gguf"), file("m-00002-of-00002.gguf"))


def quantized(target: str, *, output: bool = True, action: str | None = None) -> LockedTarget:
    made = name_of(f"output of {action or target}") if output else None
    stage = LockedQuantize(
        semantics="q/1",
        uses="any",
        quantizer="strict",
        plan=name_of("plan"),
        action=name_of(action or target),
        sha256=made,
        size=7 if output else None,
    )
    return LockedTarget(quantize=stage, pack=LockedPack(action=name_of(f"pack {target}")))


def locked(files=PARTS, *, converted: bool = True, **targets: LockedTarget) -> Lock:
    stage = LockedConvert(
        semantics="c/1",
        uses="source",
        converter_name="join",
        plan=name_of("plan"),
        action=name_of("convert"),
        sha256=name_of("whole"),
        size=9,
    )
    tools = {name: LockedTool(fingerprints={use: name_of(name)}) for name, use in (("q/1", "any"), ("c/1", "source"))}
    return Lock(
        recipe=LockedRecipe(sha256=name_of("recipe")),
        sources={"base": LockedSource(uri="file:model", revision="r", files=files)},
        tools=tools,
        convert={"weights": stage} if converted else {},
        targets=targets,
    )


def graph_of(text: str, lock: Lock, *, signed: bool = False) -> Graph:
    recipe = parse_recipe(text.encode(), "lftool.toml")
    names = sorted(recipe.targets)
    quantizes = {
        name: TransformRequest(transform="strict", produces=spec.quantize)
        for name, spec in recipe.targets.items()
        if spec.quantize
    }
    requests = Requests(convert={"weights": CONVERT} if lock.convert else {}, quantize=quantizes)
    return build_graph(recipe, lock, model_parts(recipe, lock), names, requests, signed=signed)


def names(graph: Graph) -> list[str]:
    return [f"{step.name}{' (cached)' if step.cached else ''}" for step in graph]


def present(*made: str, blobs: bool = True, bundles: dict[str, str] | None = None, measured: bool = False) -> Present:
    """What is there when the actions of these names were done."""
    actions = {name_of(name) for name in made}

    def output(action: Digest, _: str, expected: Artifact | None) -> Artifact | None:
        return (expected or Artifact(name_of("anything"), 1)) if action in actions else None

    return Present(
        blob=lambda artifact: blobs and artifact.sha256 not in {part.sha256 for part in PARTS},
        made=output,
        runtime=lambda _: False,
        measured=lambda *_: measured,
        bundle=(bundles or {}).get,
    )


BOTH = {"q4": quantized("q4"), "q8": quantized("q8")}


def test_a_build_from_nothing_does_everything() -> None:
    assert names(graph_of(RECIPE + PLAIN + SIGNED, locked(**BOTH, plain=LockedTarget()), signed=True)) == [
        "fetch base/m-00001-of-00002.gguf",
        "fetch base/m-00002-of-00002.gguf",
        "convert weights",
        "quantize q4",
        "quantize q8",
        "pack plain",
        "sign plain",
        "pack q4",
        "sign q4",
        "pack q8",
        "sign q8",
    ]


def test_every_step_names_the_targets_that_need_it() -> None:
    graph = graph_of(RECIPE + PLAIN, locked(**BOTH, plain=LockedTarget()))
    assert [step.targets for step in graph] == [
        ("plain", "q4", "q8"),
        ("plain", "q4", "q8"),
        ("plain", "q4", "q8"),
        ("q4",),
        ("q8",),
        ("plain",),
        ("q4",),
        ("q8",),
    ]


def test_targets_of_one_action_share_their_quantize_step() -> None:
    graph = graph_of(RECIPE, locked(q4=quantized("q4"), q8=quantized("q8", action="q4")))
    steps = [step for step in graph if isinstance(step, Quantize)]
    assert [step.targets for step in steps] == [("q4", "q8")]
    assert {step.weights for step in graph if isinstance(step, Pack)} == {steps[0].quantized}


def test_targets_that_ask_for_the_same_share_their_step_while_actions_are_unknown() -> None:
    graph = graph_of(RECIPE.replace("Q8_0", "Q4_K_M"), locked())
    assert [step.targets for step in graph if isinstance(step, Quantize)] == [("q4", "q8")]


def test_what_counts_as_made_is_cached_and_what_only_it_needs_is_left_out() -> None:
    graph = graph_of(RECIPE, locked(**BOTH))
    assert names(prune(graph, present("convert", "q4", "q8"))) == [
        "quantize q4 (cached)",
        "quantize q8 (cached)",
        "pack q4",
        "pack q8",
    ]


def test_weights_come_back_for_the_targets_that_still_need_them() -> None:
    left = prune(graph_of(RECIPE, locked(**BOTH)), present("convert", "q4"))
    assert names(left) == [
        "convert weights (cached)",
        "quantize q4 (cached)",
        "quantize q8",
        "pack q4",
        "pack q8",
    ]
    assert [step.targets for step in left if isinstance(step, Convert)] == [("q8",)]


def test_quantised_weights_prove_nothing_without_a_record_of_their_conversion() -> None:
    assert names(prune(graph_of(RECIPE, locked(**BOTH)), present("q4", "q8"))) == [
        "fetch base/m-00001-of-00002.gguf",
        "fetch base/m-00002-of-00002.gguf",
        "convert weights",
        "quantize q4 (cached)",
        "quantize q8 (cached)",
        "pack q4",
        "pack q8",
    ]


def test_a_record_without_its_blob_is_not_enough() -> None:
    left = prune(graph_of(RECIPE, locked(**BOTH)), present("convert", "q4", "q8", blobs=False))
    assert not any(step.cached for step in left)


def test_what_is_wanted_besides_bundles_stays() -> None:
    graph = graph_of(RECIPE, locked(**BOTH))
    left = prune(graph, present("convert", "q4", "q8"), [Product("gguf", "weights")])
    assert "convert weights (cached)" in names(left)


def test_a_rebuild_recalls_nothing_but_sources() -> None:
    everything = attrs.evolve(present("convert", "q4", "q8"), blob=lambda _: True, bundle=lambda _: "key")
    left = prune(graph_of(RECIPE + SIGNED, locked(**BOTH), signed=True), rebuild(everything))
    assert {step.name for step in left if step.cached} == {step.name for step in left if isinstance(step, Fetch)}


def test_a_finished_bundle_is_cached_and_its_signature_where_the_key_is_known() -> None:
    there = present("convert", "q4", "q8", bundles={"q4": "key", "q8": ""})
    left = prune(graph_of(RECIPE + SIGNED, locked(**BOTH), signed=True), there)
    found = {step.name: step.cached for step in left if isinstance(step, (Pack, Sign))}
    assert found == {"pack q4": True, "sign q4": True, "pack q8": True, "sign q8": False}


def test_checks_read_the_unquantised_weights_until_they_are_measured() -> None:
    graph = graph_of(RECIPE + CHECK, locked(**BOTH))
    assert "convert weights (cached)" in names(prune(graph, present("convert", "q4", "q8")))
    assert names(prune(graph, present("convert", "q4", "q8", measured=True))) == [
        "quantize q4 (cached)",
        "quantize q8 (cached)",
        "check 1 q4 (cached)",
        "check 1 q8 (cached)",
        "pack q4",
        "pack q8",
    ]


def test_no_bundle_is_packed_before_everything_is_quantised_and_checked() -> None:
    graph = graph_of(RECIPE + CHECK + PLAIN, locked(**BOTH, plain=LockedTarget()))
    before = {one.name for one, other in graph.edges if other.name == "pack plain"}
    assert before == {"convert weights", "quantize q4", "quantize q8", "check 1 q4", "check 1 q8"}


def test_weights_that_only_quantizers_read_are_streamed() -> None:
    fused = fuse(prune(graph_of(RECIPE, locked(**BOTH)), present("q4", blobs=False)), lambda *_: True)
    assert names(fused) == [
        "fetch base/m-00001-of-00002.gguf",
        "fetch base/m-00002-of-00002.gguf",
        "stream q4, q8",
        "pack q4",
        "pack q8",
    ]


def test_what_is_cached_does_not_wait_for_a_stream() -> None:
    left = prune(graph_of(RECIPE, locked(**BOTH)), present("q4"))
    assert names(fuse(left, lambda *_: True)) == [
        "fetch base/m-00001-of-00002.gguf",
        "fetch base/m-00002-of-00002.gguf",
        "quantize q4 (cached)",
        "stream q8",
        "pack q4",
        "pack q8",
    ]


@pytest.mark.parametrize("more", [PLAIN, CHECK], ids=["a bundle holds them", "a check compares with them"])
def test_weights_that_others_read_are_stored(more) -> None:
    targets = BOTH | ({"plain": LockedTarget()} if more == PLAIN else {})
    graph = prune(graph_of(RECIPE + more, locked(**targets)), present())
    assert fuse(graph, lambda *_: True) == graph


def test_nothing_streams_that_cannot() -> None:
    graph = prune(graph_of(RECIPE, locked(**BOTH)), present())
    assert fuse(graph, lambda *_: False) == graph


def test_converted_weights_that_are_there_are_not_streamed() -> None:
    graph = prune(graph_of(RECIPE, locked(**BOTH)), present("convert"))
    assert fuse(graph, lambda *_: True) == graph


def test_a_lock_needs_no_more_than_actions() -> None:
    graph = graph_of(RECIPE + CHECK + SIGNED, locked(**BOTH), signed=True)
    assert names(only_pins(graph)) == [
        "fetch base/m-00001-of-00002.gguf",
        "fetch base/m-00002-of-00002.gguf",
        "convert weights",
        "plan q4",
        "plan q8",
    ]


def test_files_of_the_same_bytes_are_fetched_once() -> None:
    twins = tuple(attrs.evolve(part, sha256=name_of("one")) for part in PARTS)
    graph = graph_of(RECIPE, locked(twins, **BOTH))
    assert [step.name for step in graph if isinstance(step, Fetch)] == ["fetch base/m-00001-of-00002.gguf"]


def test_a_cycle_is_no_graph() -> None:
    one = Quantize(quantized=Product("gguf", "b"), weights=Product("gguf", "a"), request=CONVERT)
    other = Quantize(quantized=Product("gguf", "a"), weights=Product("gguf", "b"), request=CONVERT)
    with pytest.raises(ValueError, match="reads gguf a, which no step before it makes"):
        Graph(steps=(one, other))


def test_two_steps_cannot_make_the_same() -> None:
    step = Fetch(source="base", file=PARTS[0])
    with pytest.raises(ValueError, match="which another makes already"):
        Graph(steps=(step, attrs.evolve(step, source="other")))


def test_mermaid_has_every_step_and_edge() -> None:
    graph = prune(graph_of(RECIPE, locked(**BOTH)), present("convert", "q4"))
    assert mermaid(graph).splitlines() == [
        "flowchart LR",
        '  s0["convert q8 (cached)<br/>2 files with join"]:::cached',
        '  s1["quantize q4 (cached)<br/>Q4_K_M with strict"]:::cached',
        '  s2["quantize q8<br/>Q8_0 with strict"]',
        '  s3["pack q4<br/>layout gguf"]',
        '  s4["pack q8<br/>layout gguf"]',
        "  s0 --> s2",
        "  s1 --> s3",
        "  s2 --> s3",
        "  s2 --> s4",
        "  s1 --> s4",
        "  classDef cached stroke-dasharray: 4",
    ]


def test_pictures_take_names_of_files_for_text() -> None:
    strange = attrs.evolve(PARTS[0], path='a"b<script>&#\u200b.gguf', sha256=name_of("one"))
    graph = Graph(steps=(Fetch(source="base", file=strange),))
    assert "base/a#quot;b#lt;script#gt;#amp;#35;\ufffd.gguf" in mermaid(graph)
    found = ET.fromstring(svg(graph))
    texts = [item.text for item in found.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["fetch ", 'base/a"b<script>&#\ufffd.gguf, 1.0 MB']


def test_an_svg_has_a_box_for_every_step_and_a_line_for_every_edge() -> None:
    graph = graph_of(RECIPE + SIGNED, locked(**BOTH), signed=True)
    found = ET.fromstring(svg(graph))
    space = "{http://www.w3.org/2000/svg}"
    assert len(found.findall(f"{space}g")) == len(graph.steps)
    assert len(found.findall(f"{space}path")) == len(graph.edges)
