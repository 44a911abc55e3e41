"""The steps of a build as values: what each reads and makes, its request, and its entry in the lock.

Steps refer to each other only by their products, so a rewritten graph needs no repair, and executors know no stages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Protocol, Self

import attrs
from attrs import field, frozen

from lftool.models.checks import CheckSpec
from lftool.models.digest import Artifact, Digest
from lftool.models.lock import LockedConvert, LockedFile, LockedMetadata, LockedPack, LockedQuantize
from lftool.pipeline.model.header_edits import HeaderEdits

Kind = Literal["runtime", "file", "gguf", "quantized", "described", "figures", "unsigned", "bundle"]
Share = Literal["network", "machine", "part"]


@frozen(order=True)
class Product:
    """Something that one step makes and others read.

    Attributes:
        kind: A runtime; a file of a source; the converted GGUF of a role; quantised weights; weights with other keys;
            figures of a check; an unsigned bundle, or a finished one.
        name: Runtime, digest, role, action or target; unique within its kind.
    """

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@frozen(kw_only=True)
class TransformRequest:
    """The request to a converter or quantizer, from the recipe and the lock.

    Attributes:
        transform: Name of the converter or quantizer.
        produces: The output type: a type of weights, or a file type.
        overrides: Tensor name or glob to tensor type.
        options: As written in the recipe.
        mixture: The rules by which a quantizer chooses types; "" for its newest.
        name: The source's name for the model; for converters.
    """

    transform: str
    produces: str
    overrides: Mapping[str, str] = field(factory=dict)
    options: Mapping[str, Any] = field(factory=dict)
    mixture: str = ""
    name: str = ""


@frozen(kw_only=True)
class Step(ABC):
    """A step of a build.

    Attributes:
        targets: The targets that need it.
        cached: Whether its products are already there, as far as known without reading them.
    """

    stage: ClassVar[str]
    share: ClassVar[Share] = "machine"

    targets: tuple[str, ...] = ()
    cached: bool = False

    @property
    def reads(self) -> tuple[Product, ...]:
        """The products that must be there before it can run."""
        return ()

    @property
    @abstractmethod
    def makes(self) -> tuple[Product, ...]:
        """The products that it makes."""

    @property
    def needs(self) -> tuple[Product, ...]:
        """The products that it reads; none if it is cached."""
        return () if self.cached else self.reads

    @property
    def uses(self) -> tuple[Product, ...]:
        """The products in `needs` that its targets contain; a step may wait for others too."""
        return self.needs

    @property
    def action(self) -> Digest | None:
        """The action of the step in the lock; None if it has no action, or the lock does not name it yet."""
        return None

    @property
    def output(self) -> Artifact | None:
        """The output of the step; None if it has no digest, or the lock does not name it yet."""
        return None

    @property
    def name(self) -> str:
        """Name of the step, unique in its graph."""
        return f"{self.stage} {', '.join(self.targets)}"

    @property
    @abstractmethod
    def detail(self) -> str:
        """Description of the step for users."""

    def renamed(self, names: Mapping[Product, Product]) -> Self:
        """Return the step with the products that it reads and makes renamed."""
        changes: dict[str, Any] = {}
        for item in attrs.fields(type(self)):
            value = getattr(self, item.name)
            if isinstance(value, Product):
                changes[item.name] = names.get(value, value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Product):
                changes[item.name] = tuple(names.get(product, product) for product in value)
        return attrs.evolve(self, **changes) if changes else self


class _Entry(Protocol):
    """The lock's entry for a step."""

    @property
    def action(self) -> Digest:
        """The action of the step."""

    @property
    def output(self) -> Artifact | None:
        """The output of the step."""


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
    """Brings a compiled runtime into the store."""

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
    """Brings a pinned file of a source into the store.

    Attributes:
        packed: Whether a bundle contains the file as it is.
    """

    stage = "fetch"
    share = "network"

    source: str
    file: LockedFile
    packed: bool = False

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
    """Converts the files of a role to one GGUF.

    Attributes:
        inputs: The converter's name for each file, and the file.
        files: The same files, as products.
        locked: The lock's entry; None while there is none.
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
        """Its name in messages."""
        return f"stage convert, {self.role}"

    @property
    def detail(self) -> str:
        return f"{len(self.inputs)} files with {self.request.transform}"


@frozen(kw_only=True)
class Quantize(LockedStep):
    """Quantises weights.

    Attributes:
        quantized: The product that it makes.
        weights: The product that it starts from.
        imatrix: The importance matrix, if there is one.
        backend: Backend of the first target; decides which accelerators may replace the quantizer.
        locked: The lock's entry; None while there is none.
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
        """Its name in messages."""
        return f"targets.{self.targets[0]}, stage quantize"

    @property
    def detail(self) -> str:
        return f"{self.request.produces} with {self.request.transform}"


@frozen(kw_only=True)
class Plan(Step):
    """Plans a quantize step without running it: a lock needs its action, not its output."""

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
    """Quantises weights while they are converted. The converted weights are not stored, except for their header."""

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
    """Runs a check of the recipe on quantised weights. If it fails, no bundle is made.

    Attributes:
        number: The check's number in the recipe.
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
class Metadata(LockedStep):
    """Gives weights other keys.

    Attributes:
        edits: What changes.
        weights: The product that it starts from.
        template: The chat template, if the recipe names one.
        locked: The lock's entry; None while there is none.
    """

    stage = "metadata"
    share = "part"

    target: str
    edits: HeaderEdits
    weights: Product
    template: Product | None = None
    locked: LockedMetadata | None = None

    @property
    def reads(self) -> tuple[Product, ...]:
        return (self.weights,) if self.template is None else (self.weights, self.template)

    @property
    def needs(self) -> tuple[Product, ...]:
        return self.reads  # its action names the stage that made the weights

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("described", self.target),)

    @property
    def detail(self) -> str:
        removed = f", {len(self.edits.removed)} removed" if self.edits.removed else ""
        return f"{len(self.edits.edits)} keys set{removed}"


@frozen(kw_only=True)
class Pack(LockedStep):
    """Packs all parts of a target into its bundle. If the bundle is to be signed, the `Sign` step names it.

    Attributes:
        weights: The weights at the beginning or end of the bundle.
        quantized: The quantised weights that they were made from, or are; None if they are as the source's.
        beside: The other parts of the bundle: companions, a compiled runtime.
        after: Products that must be there before any bundle is written: all targets' quantised weights, and checks.
        signed: Whether a `Sign` step follows.
        locked: The lock's entry; None while there is none.
    """

    stage = "pack"
    share = "part"

    target: str
    layout: str
    weights: Product
    quantized: Product | None = None
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
        return self.reads  # its parts show whether a finished bundle is the right one

    @property
    def makes(self) -> tuple[Product, ...]:
        return (Product("unsigned" if self.signed else "bundle", self.target),)

    @property
    def detail(self) -> str:
        return f"layout {self.layout}"


@frozen(kw_only=True)
class Sign(Step):
    """Signs a bundle and names it.

    It shares an unnamed file with the `Pack` step before it, so one process runs both.
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
    """Return a file of a source as a product; files with the same bytes are one product."""
    return Product("file", file.sha256.hex)


@frozen(kw_only=True)
class Graph:
    """Steps in an order in which they can run: the step that makes a product comes before those that read it.

    Raises:
        ValueError: A step reads a product of a later step, as in a cycle, or two steps make the same product.
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
        """Return the step that makes a product, if there is one."""
        return next((step for step in self.steps if product in step.makes), None)

    @property
    def edges(self) -> list[tuple[Step, Step]]:
        """Pairs of steps; the second reads a product of the first."""
        makers = {product: step for step in self.steps for product in step.makes}
        pairs = ((makers[product], step) for step in self.steps for product in step.needs if product in makers)
        return list({(one.name, other.name): (one, other) for one, other in pairs}.values())
