"""The steps of a build, as values: what each reads and makes, what it asks for, and what the lock says of it.

Steps name one another by their products only, so a rewritten graph needs no repair, and an executor no knowledge of stages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Protocol, Self

import attrs
from attrs import field, frozen

from lftool.models.checks import CheckSpec
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import LockedConvert, LockedFile, LockedPack, LockedQuantize

Kind = Literal["runtime", "file", "gguf", "quantized", "figures", "unsigned", "bundle"]
Share = Literal["network", "machine", "part"]


@frozen(order=True)
class Product:
    """What a step makes and others read.

    Attributes:
        kind: A runtime; a file of a source; the GGUF of a role, converted; quantised weights; figures of a check; an unsigned
            bundle, or a finished one.
        name: Runtime, digest, role, action or target; unique within its kind.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@frozen(kw_only=True)
class TransformRequest:
    """What a converter or a quantizer is asked for, as recipe and lock say it.

    Attributes:
        transform: Name of the converter or quantizer.
        produces: What it makes: the type of weights, or a file type.
        overrides: Tensor name or glob to tensor type.
        options: As the recipe wrote them.
        name: What the source calls the model; for converters.
    """

    transform: str
    produces: str
    overrides: Mapping[str, str] = field(factory=dict)
    options: Mapping[str, Any] = field(factory=dict)
    name: str = ""


@frozen(kw_only=True)
class Step(ABC):
    """A piece of work.

    Attributes:
        targets: Which targets need it.
        cached: Whether what it makes is there already, as far as can be told without reading it.
    """

    stage: ClassVar[str]
    share: ClassVar[Share] = "machine"

    targets: tuple[str, ...] = ()
    cached: bool = False

    @property
    def reads(self) -> tuple[Product, ...]:
        """What must be there before it can be done."""
        return ()

    @property
    @abstractmethod
    def makes(self) -> tuple[Product, ...]:
        """What is there when it is done."""

    @property
    def needs(self) -> tuple[Product, ...]:
        """What it reads, unless it is cached."""
        return () if self.cached else self.reads

    @property
    def uses(self) -> tuple[Product, ...]:
        """Of that, what its targets are made of; it may wait for more."""
        return self.needs

    @property
    def action(self) -> Digest | None:
        """What the lock calls what it does; None where there is no action, or the lock does not name it yet."""
        return None

    @property
    def output(self) -> Artifact | None:
        """What it makes; None where that has no digest, or the lock does not name it yet."""
        return None

    @property
    def name(self) -> str:
        """What tells it from the others of its graph."""
        return f"{self.stage} {', '.join(self.targets)}"

    @property
    @abstractmethod
    def detail(self) -> str:
        """What people are told of it."""

    def renamed(self, names: Mapping[Product, Product]) -> Self:
        """Return the step with other names for what it reads and makes."""
        changes: dict[str, Any] = {}
        for item in attrs.fields(type(self)):
            value = getattr(self, item.name)
            if isinstance(value, Product):
                changes[item.name] = names.get(value, value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Product):
                changes[item.name] = tuple(names.get(product, product) for product in value)
        return attrs.evolve(self, **changes) if changes else self


class _Entry(Protocol):
    """What locks say of a step."""

    @property
    def action(self) -> Digest:
        """What it does."""

    @property
    def output(self) -> Artifact | None:
        """What came of it."""


@frozen(kw_only=True)
class LockedStep(Step):
    """A step that a lock has an entry for."""

    locked: _Entry | None = None

    @property
    def action(self) -> Digest | None:
        return None if self.locked is None else self.locked.action

    @property
    def output(self) -> Artifact | None:
        return None if self.locked is None else self.locked.output


@frozen(kw_only=True)
class Compile(Step):
    """A compiled runtime comes into the store."""

    stage = "compile"

    runtime: str
    executable: Artifact | None = None

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("runtime", self.runtime),)

    @property
    def output(self) -> Artifact | None:
        return self.executable

    @property
    def name(self) -> str:
        return f"compile {self.runtime}"

    @property
    def detail(self) -> str:
        return self.runtime


@frozen(kw_only=True)
class Fetch(Step):
    """A pinned file of a source comes into the store."""

    stage = "fetch"
    share = "network"

    source: str
    file: LockedFile

    @property
    def makes(self) -> tuple[Product, ...]:
        return (file_product(self.file),)

    @property
    def output(self) -> Artifact:
        return self.file.artifact

    @property
    def name(self) -> str:
        return f"fetch {self.source}/{self.file.path}"

    @property
    def detail(self) -> str:
        return f"{self.source}/{self.file.path}, {self.file.size / 1e6:.1f} MB"


@frozen(kw_only=True)
class Convert(LockedStep):
    """The files of a role become one GGUF.

    Attributes:
        inputs: What the converter calls each file, and the file.
        files: The same files, as products.
        locked: What the lock says of it; None while there is none.
    """

    stage = "convert"

    role: str
    request: TransformRequest
    inputs: Mapping[str, Artifact]
    files: tuple[Product, ...]
    locked: LockedConvert | None = None

    @property
    def reads(self) -> tuple[Product, ...]:
        return self.files

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("gguf", self.role),)

    @property
    def name(self) -> str:
        return f"convert {self.role}"

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"stage convert, {self.role}"

    @property
    def detail(self) -> str:
        return f"{len(self.inputs)} files with {self.request.transform}"


@frozen(kw_only=True)
class Quantize(LockedStep):
    """Weights take other types.

    Attributes:
        quantized: What it makes.
        weights: What it starts from.
        imatrix: The importance matrix, where there is one.
        backend: Of the first target: what may work in the quantizer's place.
        locked: What the lock says of it; None while there is none.
    """

    stage = "quantize"
    share = "part"

    quantized: Product
    request: TransformRequest
    weights: Product
    imatrix: Product | None = None
    backend: str = "cpu"
    locked: LockedQuantize | None = None

    @property
    def reads(self) -> tuple[Product, ...]:
        return (self.weights,) if self.imatrix is None else (self.weights, self.imatrix)

    @property
    def makes(self) -> tuple[Product, ...]:
        return (self.quantized,)

    @property
    def what(self) -> str:
        """What messages call it."""
        return f"targets.{self.targets[0]}, stage quantize"

    @property
    def detail(self) -> str:
        return f"{self.request.produces} with {self.request.transform}"


@frozen(kw_only=True)
class Plan(Step):
    """A quantize step is planned, not done: a lock needs its action, not its output."""

    stage = "plan"
    share = "part"

    of: Quantize

    @property
    def reads(self) -> tuple[Product, ...]:
        return self.of.reads

    @property
    def makes(self) -> tuple[Product, ...]:
        return self.of.makes

    @property
    def detail(self) -> str:
        return self.of.detail


@frozen(kw_only=True)
class Stream(Step):
    """Weights are quantised while they are converted, and stored nowhere; their header is kept."""

    stage = "stream"

    convert: Convert
    quantizes: tuple[Quantize, ...]

    @property
    def reads(self) -> tuple[Product, ...]:
        others = [product for step in self.quantizes for product in step.reads if product not in self.convert.makes]
        return tuple(dict.fromkeys([*self.convert.reads, *others]))

    @property
    def makes(self) -> tuple[Product, ...]:
        return (*self.convert.makes, *(step.quantized for step in self.quantizes))

    @property
    def detail(self) -> str:
        made = ", ".join(step.detail for step in self.quantizes)
        return f"{self.convert.detail} to {made}; the weights between are not stored"


@frozen(kw_only=True)
class Measure(Step):
    """A check of the recipe measures quantised weights; a bundle of what fails it is not made.

    Attributes:
        number: Which of the recipe's checks.
        reference: The unquantised weights.
    """

    stage = "check"

    number: int
    check: CheckSpec
    target: str
    weights: Product
    reference: Product

    @property
    def reads(self) -> tuple[Product, ...]:
        return (self.weights, self.reference)

    @property
    def needs(self) -> tuple[Product, ...]:
        return (self.weights,) if self.cached else self.reads

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("figures", f"{self.target}/{self.number}"),)

    @property
    def name(self) -> str:
        return f"check {self.number} {self.target}"

    @property
    def detail(self) -> str:
        return f"{self.check.kind} on {self.check.options.get('text')}"


@frozen(kw_only=True)
class Pack(LockedStep):
    """All parts of a target become its bundle; one that is to be signed gets its name from the `Sign` step.

    Attributes:
        weights: What the bundle begins with, or ends with.
        beside: What else goes into it: companions, a compiled runtime.
        after: What must have gone well before any bundle is written: what all targets quantise, and checks.
        signed: Whether a `Sign` step follows.
        locked: What the lock says of it; None while there is none.
    """

    stage = "pack"
    share = "part"

    target: str
    layout: str
    weights: Product
    beside: tuple[Product, ...] = ()
    after: tuple[Product, ...] = ()
    signed: bool = False
    locked: LockedPack | None = None

    @property
    def reads(self) -> tuple[Product, ...]:
        return tuple(dict.fromkeys([*self.uses, *self.after]))

    @property
    def uses(self) -> tuple[Product, ...]:
        return (self.weights, *self.beside)

    @property
    def needs(self) -> tuple[Product, ...]:
        return self.reads  # whether a finished bundle is the right one shows when its parts are known

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("unsigned" if self.signed else "bundle", self.target),)

    @property
    def detail(self) -> str:
        return f"layout {self.layout}"


@frozen(kw_only=True)
class Sign(Step):
    """A bundle is signed, and gets its name.

    It and the `Pack` step before share a file that has no name, so one process does both.
    """

    stage = "sign"
    share = "part"

    target: str
    key: str

    @property
    def reads(self) -> tuple[Product, ...]:
        return (Product("unsigned", self.target),)

    @property
    def needs(self) -> tuple[Product, ...]:
        return self.reads

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("bundle", self.target),)

    @property
    def detail(self) -> str:
        return self.key


def file_product(file: LockedFile) -> Product:
    """Return a file of a source as a product: files of the same bytes are one."""
    return Product("file", file.sha256.hex)


@frozen(kw_only=True)
class Graph:
    """Steps in an order in which they can be done: what a step reads and another makes comes first.

    Raises:
        ValueError: A step reads what a later one makes, as in a cycle, or two make the same.
    """

    steps: tuple[Step, ...]

    def __attrs_post_init__(self) -> None:
        made: set[Product] = set()
        later = {product for step in self.steps for product in step.makes}
        for step in self.steps:
            early = sorted(product for product in step.needs if product in later and product not in made)
            if early:
                raise ValueError(f"step {step.name!r} reads {early[0]}, which no step before it makes")
            twice = sorted(made & set(step.makes))
            if twice:
                raise ValueError(f"step {step.name!r} makes {twice[0]}, which another makes already")
            made.update(step.makes)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def maker(self, product: Product) -> Step | None:
        """Return the step that makes a product, if one does."""
        return next((step for step in self.steps if product in step.makes), None)

    @property
    def edges(self) -> list[tuple[Step, Step]]:
        """Pairs of steps: the second reads what the first makes."""
        makers = {product: step for step in self.steps for product in step.makes}
        pairs = ((makers[product], step) for step in self.steps for product in step.needs if product in makers)
        return list({(one.name, other.name): (one, other) for one, other in pairs}.values())
