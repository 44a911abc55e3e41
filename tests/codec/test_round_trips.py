from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from lftool.codec.locks import emit_lock, parse_lock, slice_lock
from lftool.codec.recipes import emit_recipe, parse_recipe, recipe_digest, slice_recipe
from lftool.models.digest import Digest
from lftool.models.lock import (
    Lock,
    LockedFile,
    LockedPack,
    LockedPlugin,
    LockedQuantize,
    LockedRecipe,
    LockedRuntime,
    LockedSource,
    LockedTarget,
    LockedTool,
)
from lftool.models.reals import as_decimal, canonical_real
from lftool.models.recipe import BundleInfo, ModelSpec, Recipe, SignSpec, SourceSpec, TargetSpec
from lftool.models.run_contract import RunContract

TEXT = st.text(max_size=12)
SOME_TEXT = st.text(min_size=1, max_size=12)
NAMES = st.sampled_from(["a", "q4", "Q8", "base", "1.0.0", "x_y", "v1+cpu", "a-b", "z" * 64])
MAYBE = st.none() | TEXT
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
OPTIONS = st.dictionaries(
    TEXT,
    st.recursive(
        TEXT | st.integers() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=2,
)
SHARES = st.none() | st.floats(0, 1).filter(lambda value: value == 0 or value > 1e-20).map(canonical_real)
REALS = st.none() | st.floats(0, 100).filter(lambda value: value == 0 or value > 1e-20).map(canonical_real)
SIZES = st.integers(0, 2**53 - 1)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)
PATHS = st.lists(
    st.text(string.ascii_letters + "._- é", min_size=1, max_size=6).filter(lambda part: part not in {".", ".."}),
    min_size=1,
    max_size=3,
).map("/".join)

CONTRACTS = st.builds(
    RunContract,
    context=st.none() | st.integers(1, 2**31 - 1),
    max_tokens=st.none() | st.integers(1, 2**31 - 1),
    seed=st.none() | st.integers(0, 2**32 - 2),
    system=MAYBE,
    stop=TEXTS,
    top_k=st.none() | st.integers(0, 2**31 - 1),
    temperature=REALS,
    top_p=SHARES,
    min_p=SHARES,
    repeat_penalty=REALS.filter(lambda value: value is None or as_decimal(value) >= as_decimal("0.01")),
)


@st.composite
def recipes(draw) -> Recipe:
    spec = st.builds(SourceSpec, uri=SOME_TEXT, include=TEXTS, exclude=TEXTS, options=OPTIONS)
    sources = draw(st.dictionaries(NAMES, spec, min_size=1, max_size=3))
    target = st.builds(
        TargetSpec,
        layout=TEXT,
        quantize=MAYBE,
        quantizer=MAYBE,
        backend=TEXT,
        runtime=MAYBE,
        overrides=st.dictionaries(TEXT, TEXT, max_size=2),
        options=OPTIONS,
    )
    source = st.sampled_from(sorted(sources))
    return Recipe(
        bundle=draw(st.builds(BundleInfo, name=NAMES, version=NAMES, license=MAYBE, description=MAYBE)),
        sources=sources,
        model=ModelSpec(weights=draw(source), imatrix=draw(st.none() | source)),
        targets=draw(st.dictionaries(NAMES, target, min_size=1, max_size=3)),
        run=draw(CONTRACTS),
        sign=draw(st.none() | st.just(SignSpec(key="env:KEY"))),
    )


@st.composite
def locked_sources(draw) -> LockedSource:
    paths = draw(st.lists(PATHS, unique=True, min_size=1, max_size=3))
    return LockedSource(
        uri=draw(TEXT),
        include=draw(TEXTS),
        exclude=draw(TEXTS),
        options=draw(OPTIONS),
        revision=draw(TEXT),
        files=tuple(LockedFile(path=path, size=draw(SIZES), sha256=draw(DIGESTS)) for path in sorted(paths)),
    )


@st.composite
def locks(draw, sources=None, targets=NAMES) -> Lock:
    fingerprints = st.dictionaries(SOME_TEXT, DIGESTS, min_size=1, max_size=2)
    tool = st.builds(LockedTool, providers=st.dictionaries(SOME_TEXT, TEXT, max_size=2), fingerprints=fingerprints)
    tools = draw(st.dictionaries(SOME_TEXT, tool, min_size=1, max_size=2))
    runtimes = draw(st.dictionaries(SOME_TEXT, st.builds(LockedRuntime, sha256=DIGESTS), max_size=2))

    def quantize() -> LockedQuantize:
        semantics = draw(st.sampled_from(sorted(tools)))
        built = draw(st.booleans())
        return LockedQuantize(
            semantics=semantics,
            uses=draw(st.sampled_from(sorted(tools[semantics].fingerprints))),
            quantizer=draw(MAYBE),
            plan=draw(DIGESTS),
            action=draw(DIGESTS),
            sha256=draw(DIGESTS) if built else None,
            size=draw(SIZES) if built else None,
        )

    def pack() -> LockedPack:
        if not draw(st.booleans()):
            return LockedPack(action=draw(DIGESTS))
        return LockedPack(action=draw(DIGESTS), manifest=draw(DIGESTS), sha256=draw(DIGESTS), size=draw(SIZES))

    def target() -> LockedTarget:
        return LockedTarget(
            runtime=draw(st.sampled_from([None, *sorted(runtimes)])),
            quantize=quantize() if draw(st.booleans()) else None,
            pack=pack() if draw(st.booleans()) else None,
        )

    if sources is None:
        sources = draw(st.lists(NAMES, unique=True, max_size=2))
    chosen = [targets] if isinstance(targets, str) else draw(st.lists(targets, unique=True, max_size=3))
    return Lock(
        recipe=LockedRecipe(sha256=draw(DIGESTS), fields=draw(OPTIONS)),
        sources={name: draw(locked_sources()) for name in sources},
        plugins=draw(st.dictionaries(TEXT, st.builds(LockedPlugin, version=TEXT, sha256=DIGESTS), max_size=2)),
        tools=tools,
        runtimes=runtimes,
        targets={name: target() for name in chosen},
    )


@settings(max_examples=30, deadline=None)
@given(recipes())
def test_the_projection_of_any_recipe_is_a_recipe_with_the_same_projection(recipe):
    data = emit_recipe(recipe)
    again = parse_recipe(data, "projection")
    assert emit_recipe(again) == data
    assert recipe_digest(again) == recipe_digest(recipe)


@settings(max_examples=30, deadline=None)
@given(recipes(), st.data())
def test_the_slice_of_any_recipe_is_a_recipe_and_its_own_slice(recipe, data):
    target = data.draw(st.sampled_from(sorted(recipe.targets)))
    part = slice_recipe(recipe, target)
    again = parse_recipe(emit_recipe(part), "slice")
    assert (again, slice_recipe(again, target)) == (part, part)


@settings(max_examples=30, deadline=None)
@given(locks())
def test_any_lock_is_read_back_as_the_same_value_and_the_same_bytes(lock):
    data = emit_lock(lock)
    again = parse_lock(data, "lftool.lock")
    assert again == lock
    assert emit_lock(again) == data


@settings(max_examples=20, deadline=None)
@given(recipes(), st.data())
def test_the_slice_of_any_lock_is_a_lock_that_depends_on_nobody_who_built_it(recipe, data):
    target = data.draw(st.sampled_from(sorted(recipe.targets)))
    lock = data.draw(locks(sources=sorted(recipe.sources), targets=target))
    part = slice_lock(lock, recipe, target)
    assert parse_lock(emit_lock(part), "slice") == part
    assert (part.plugins, set(part.targets), part.targets[target].pack) == ({}, {target}, None)
    assert [tool.providers for tool in part.tools.values() if tool.providers] == []
