"""What is built in passes the kits that plugins are tested with."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lftool.api import QualityFigures, SignerContext
from lftool.builtin.p256_keys import KeySigner
from lftool.testing import (
    CheckConformance,
    CheckExample,
    FakeCheckContext,
    KeyExample,
    LayoutConformance,
    LayoutExample,
    ObserverConformance,
    ObserverExample,
    RuntimeConformance,
    RuntimeExample,
    SignedExample,
    SignerConformance,
    VerifierConformance,
)

PEM = ec.derive_private_key(7, ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class TestGGUF(LayoutConformance):
    @pytest.fixture
    def layout(self):
        return LayoutExample(name="gguf")


class TestLlamafile(LayoutConformance):
    @pytest.fixture
    def layout(self):
        return LayoutExample(name="llamafile")


class TestPython(RuntimeConformance):
    @pytest.fixture
    def runtime(self):
        return RuntimeExample(name="python")


class TestKeyInAFile(SignerConformance):
    @pytest.fixture
    def key(self):
        return KeyExample(reference="file:release.key", files={"release.key": PEM})


class TestKeyInAVariable(SignerConformance):
    @pytest.fixture
    def key(self):
        return KeyExample(reference="env:RELEASE_KEY", environment={"RELEASE_KEY": PEM.decode()})


class TestP256(VerifierConformance):
    @pytest.fixture
    def signed(self, tmp_path):
        (tmp_path / "k.key").write_bytes(PEM)
        signer = KeySigner(SignerContext(project=tmp_path, scheme="file", rest="k.key"))
        return SignedExample(
            name=signer.scheme, public_key=signer.public_key(), data=b"lftool", signature=signer.sign(b"lftool")
        )


class TestConsole(ObserverConformance):
    @pytest.fixture
    def observer(self):
        return ObserverExample(name="console")


def says(answer: str) -> FakeCheckContext:
    return FakeCheckContext(answers={"p": answer}, vectors={answer: [1.0, 0.0], "near": [1.0, 0.5]})


def measured(perplexity: float) -> FakeCheckContext:
    return FakeCheckContext(
        figures=QualityFigures(
            context=8,
            tokens=8,
            perplexity=perplexity,
            reference_perplexity=10.0,
            kl_divergence=0.0,
            kl_divergence_max=0.0,
            same_top=1.0,
            tool="t",
            machine="m",
        )
    )


EXAMPLES = {
    "prompt": CheckExample(
        name="prompt", options={"prompt": "p", "contains": ["fox"]}, holds=says("a fox"), fails=says("a cat")
    ),
    "regex": CheckExample(
        name="regex", options={"prompt": "p", "matches": "^a f.x$"}, holds=says("a fox"), fails=says("the fox")
    ),
    "rerank": CheckExample(
        name="rerank",
        options={"query": "a fox", "best": "A fox ran.", "others": ["A drum.", "Snow."], "min_margin": 0.5},
        holds=FakeCheckContext(does="ranks", scores={"A fox ran.": 2.0, "A drum.": 1.5, "Snow.": -1.0}),
        fails=FakeCheckContext(does="ranks", scores={"A fox ran.": 2.0, "A drum.": 1.6, "Snow.": -1.0}),
    ),
    "embedding": CheckExample(
        name="embedding",
        options={"prompt": "p", "similar_to": "near", "min_similarity": 0.8},
        holds=says("a fox"),
        fails=FakeCheckContext(answers={"p": "x"}, vectors={"x": [0.0, -1.0], "near": [1.0, 0.5]}),
    ),
    "time-to-first-token": CheckExample(
        name="time-to-first-token",
        options={"prompt": "p", "max_seconds": 0.5},
        holds=FakeCheckContext(seconds=0.5),
        fails=FakeCheckContext(seconds=0.6),
    ),
    "perplexity": CheckExample(
        name="perplexity",
        options={"text": "held-out.txt", "max_increase": 0.05},
        holds=measured(10.4),
        fails=measured(10.6),
        files={"held-out.txt": b"some text"},
    ),
}


class TestKindsOfChecks(CheckConformance):
    @pytest.fixture(params=EXAMPLES)
    def check(self, request):
        return EXAMPLES[request.param]


class TestJSONSchema(CheckConformance):
    @pytest.fixture
    def check(self, tmp_path):
        from lftool.api import ProjectFiles

        (tmp_path / "s.json").write_text('{"type": "object"}')
        files = ProjectFiles(project=tmp_path)
        return CheckExample(
            name="json-schema",
            options={"prompt": "p", "schema": "s.json"},
            holds=FakeCheckContext(answers={"p": "{}"}, files=files),
            fails=FakeCheckContext(answers={"p": "[]"}, files=files),
            files={"s.json": b'{"type": "object"}'},
        )
