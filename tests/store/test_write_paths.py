"""No module writes a file that lasts but through `store/durable.py`, where failpoints stand around every step."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from lftool.store.durable import LABELS, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DURABLE = "store/durable.py"

# Writes outside of a failpoint's reach: (module, function, call), each with the reason why it needs none.
ALLOWED = {
    # The temporary file that every durable write starts from; the failpoint `created` follows at once.
    (DURABLE, "_create", "os.open"),
    (DURABLE, "durable_file", "os.fdopen"),
    # An empty file to hold an advisory lock on; nothing reads it, nothing is wrong when it is missing.
    ("store/locking.py", "advisory_lock", "os.open"),
    # A corrupted blob is moved out of use; before and after, it is missing from the store in every way that matters.
    ("store/cas.py", "ContentStore.quarantine", "replace"),
    # A marker for backup tools; nothing reads it back.
    ("store/store.py", "Store.in_use", "touch"),
    ("store/store.py", "Store.in_use", "write_text"),
    # An empty file whose time says when garbage was last collected; a lost one means one more collection.
    ("store/collect.py", "collect_if_due", "touch"),
    # What a child process printed, in its scratch folder, gone with it.
    ("host/workers.py", "Workers.start", "open"),
    # An empty file for a worker to write; in the store it is there already, made by a durable write.
    ("host/isolated.py", "Isolated.run", "touch"),
    ("host/isolated.py", "Isolated.run_fixed", "touch"),
    # The identity of this process in a namespace of its own; files of the kernel's.
    ("host/confining.py", "_map_ids", "open"),
    # The pipe to the parent process, not a file.
    ("host/worker.py", "main", "os.fdopen"),
    # What a user typed, and conversations that a user saved: nothing else depends on them.
    ("cli/chat_files.py", "chat_files", "os.open"),
    ("cli/chat_files.py", "chat_files", "write_bytes"),
    ("builtin/python_runtime/runner.py", "Chat._save", "open"),
    ("builtin/python_runtime/runner.py", "Chat._save", "os.open"),
    # The reader of standard output has gone: what is still to be written goes nowhere.
    ("cli/main.py", "_run", "open"),
    # A layer in the scratch folder of an export, early; the whole folder is synced before it gets its name.
    ("builtin/container.py", "_write_layer", "os.fsync"),
    # Weights of a bundle on their way into the store: the durable file that they are written to has no name yet.
    ("bundle/extraction.py", "copy_weights", "open"),
    # A folder that others read, written by a plugin: a file gets its name once it is on the disk.
    ("builtin/folder_destination.py", "Folder.write", "open"),
    ("builtin/folder_destination.py", "Folder.write", "os.fsync"),
    ("builtin/folder_destination.py", "Folder.write", "replace"),
    # A pulled file in the output's landing folder, where nothing is read that was not checked; `commit_file` follows.
    ("ops/publishing/finishing.py", "_write_around", "os.open"),
    ("store/cloning.py", "shifted", "os.open"),
    ("ops/publishing/arrivals.py", "Remote.bring", "replace"),
    # A detached bundle on its way into the store, as above.
    ("ops/run/whole.py", "whole.attach", "open"),
    # What a server that is being checked printed; it has no name, and goes with its descriptor.
    ("ops/run/served_model.py", "served", "tempfile.TemporaryFile"),
    # A tensor for a worker to read, in the scratch folder of a proof, gone with it.
    ("ops/prove/staging.py", "_bring", "open"),
    # Not a file's `open`: a source's, which reads.
    ("ops/models/content.py", "RemoteContent._fetch", "open"),
    (
        "testing/destination_kit.py",
        "DestinationConformance.test_a_bundle_that_was_changed_is_not_published",
        "write_bytes",
    ),
    ("testing/remote_store_kit.py", "RemoteStoreConformance.pushing", "write_bytes"),
    ("pipeline/sources/guarded_store.py", "GuardedStore.open", "open"),
    ("transfer/remote_store.py", "_Object.open", "open"),
    ("transfer/remote_store.py", "CheckedStore._small", "open"),
    ("pipeline/sources/fetch.py", "RemoteFile.open", "open"),
    ("transfer/chunks.py", "ParallelTransfer._stream", "open"),
    # A file in the making and its journal: chunks count only when their CRC-32 is right, whatever became of a write.
    ("store/partial.py", "PartialFile.__init__", "os.open"),
    ("store/partial.py", "PartialFile.__init__", "os.truncate"),
    # Fetched blobs are renamed without a sync, and checked before they are used (docs/adr/0008).
    ("store/cas.py", "ContentStore.adopt", "replace"),
    # `tarfile.open` over a stream that goes into a durable file.
    ("store/vendoring.py", "write_archive", "open"),
    # A sync before a stamp is written; nothing is renamed.
    ("store/cas.py", "ContentStore.check", "os.fsync"),
    # /dev/null for what is still to be printed once the reader has gone.
    ("builtin/python_runtime/runner.py", "run", "os.open"),
    # Writes the output and the probe's input in a converter's own process; the parent hashes and stores them.
    ("builtin/join.py", "GGUFJoin._join", "open"),
    ("builtin/join.py", "GGUFJoin.probe_inputs", "open"),
    # The fixed input of a quantizer, likewise in its own process.
    ("formats/probe_model.py", "write_probe_imatrix", "open"),
    ("formats/probe_model.py", "write_probe_model", "open"),
    # A file that plans are made from, in a scratch folder, gone with it.
    ("pipeline/model/headers.py", "skeleton", "write_bytes"),
    ("pipeline/model/headers.py", "skeleton", "os.truncate"),
    # An exporter fills a folder that has no name yet: `sync_files` and `commit_directory` follow.
    ("builtin/container.py", "ContainerExporter.export", "write_bytes"),
    ("builtin/container.py", "_write_json", "write_bytes"),
    ("builtin/container.py", "_write_layer", "open"),
    ("builtin/container.py", "_write_layer", "rename"),
    # Files of tests, in their own folders.
    ("testing/check_kit.py", "CheckConformance._write", "write_bytes"),
    ("testing/exporter_kit.py", "ExporterConformance.test_a_bundle_that_was_changed_is_not_exported", "write_bytes"),
    ("testing/exporter_kit.py", "ExporterConformance.test_a_folder_that_is_not_empty_stays_as_it_is", "write_text"),
    ("testing/installed.py", "main", "tempfile.TemporaryDirectory"),
    ("testing/installed.py", "main", "write_text"),
    ("testing/signer_kit.py", "SignerConformance.key_project", "write_bytes"),
    ("testing/source_kit.py", "SourceConformance.source_project", "write_bytes"),
    ("testing/signer_kit.py", "SignerConformance.test_a_bundle_is_signed_and_verifies", "write_text"),
    ("testing/uninstalled.py", "register", "shutil.copyfile"),
    ("testing/uninstalled.py", "register", "shutil.copytree"),
    ("testing/uninstalled.py", "register", "write_text"),
    # A new project of a plugin: its author's from now on, and nothing of lftool's reads it.
    ("ops/plugin_project.py", "new_plugin", "write_text"),
    # `tarfile.open`, which reads; what is kept goes into a durable file.
    ("pipeline/tools/archives.py", "_repack", "open"),
    # Arranges tests; nothing here has to survive a power cut.
    ("testing/source_kit.py", "large_model", "tempfile.TemporaryDirectory"),
    ("testing/bundles.py", "rewrite_bundle", "write_bytes"),
    (
        "testing/transform_kit.py",
        "TransformConformance.test_weights_that_are_cut_off_are_an_error_for_people",
        "write_bytes",
    ),
    ("testing/transform_kit.py", "_read_from_a_pipe", "write_bytes"),
    ("testing/transform_kit.py", "_read_from_a_pipe", "os.truncate"),
    ("testing/models.py", "tiny_gguf", "open"),
    ("testing/project_folder.py", "ProjectFolder.write_recipe", "write_text"),
    ("testing/project_folder.py", "ProjectFolder.write_credentials", "write_text"),
    ("testing/project_folder.py", "ProjectFolder.write_configuration", "write_text"),
}

ALWAYS_WRITES = {
    "os": {"fsync", "fdatasync", "rename", "renames", "replace", "link", "symlink", "mkfifo", "mknod", "truncate"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "make_archive", "unpack_archive"},
    "tempfile": {
        "mkstemp",
        "mkdtemp",
        "NamedTemporaryFile",
        "TemporaryFile",
        "TemporaryDirectory",
        "SpooledTemporaryFile",
    },
}
PATH_WRITES = {"write_bytes", "write_text", "rename", "hardlink_to", "symlink_to", "link_to"}
OPEN_FLAGS_THAT_WRITE = {"O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC", "O_APPEND", "O_TMPFILE"}


@frozen
class Write:
    """One call that writes: where, in which function, what, and the function's syntax."""

    module: str
    function: str
    call: str
    line: int
    scope: ast.AST

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.module, self.function, self.call)


def _mode(call: ast.Call, position: int) -> str:
    """The mode of an `open` call; an unknown expression counts as writing."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    if not given:
        return "r"
    return str(given[0].value) if isinstance(given[0], ast.Constant) else "w"


def _what_it_writes(call: ast.Call) -> str | None:
    function = call.func
    if isinstance(function, ast.Name):
        return "open" if function.id == "open" and set(_mode(call, 1)) & set("wax+") else None
    if not isinstance(function, ast.Attribute):
        return None
    name = function.attr
    module = function.value.id if isinstance(function.value, ast.Name) else ""
    if name in ALWAYS_WRITES.get(module, ()):
        return f"{module}.{name}"
    if module == "os":
        if name == "fdopen":
            return "os.fdopen" if set(_mode(call, 1)) & set("wax+") else None
        if name == "open":
            flags = {node.attr for node in ast.walk(call.args[1]) if isinstance(node, ast.Attribute)}
            return "os.open" if flags & OPEN_FLAGS_THAT_WRITE else None
        return None
    if name == "open":
        return "open" if set(_mode(call, 0)) & set("wax+") else None
    if name == "replace":  # str.replace takes two, Path.replace one
        return "replace" if len(call.args) == 1 and not call.keywords else None
    if name == "touch":  # ContentStore.touch takes an artifact, Path.touch no more than keywords
        return None if call.args else "touch"
    return name if name in PATH_WRITES else None


def _walk(module: str, node: ast.AST, names: tuple[str, ...], scope: ast.AST) -> Iterator[Write]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            what = _what_it_writes(child)
            if what is not None:
                yield Write(module, ".".join(names), what, child.lineno, scope)
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield from _walk(module, child, (*names, child.name), child)
        else:
            yield from _walk(module, child, names, scope)


def _modules(repository: Path) -> dict[str, ast.Module]:
    root = repository / "toolchain" / "lftool"
    return {str(path.relative_to(root)): ast.parse(path.read_bytes()) for path in sorted(root.rglob("*.py"))}


@pytest.fixture(scope="module")
def writes(repository) -> list[Write]:
    """Every call in toolchain/lftool that writes."""
    return [write for name, module in _modules(repository).items() for write in _walk(name, module, (), module)]


def _steps(scope: ast.AST) -> list[tuple[int, str]]:
    """The failpoints of a function: line and step."""
    return sorted(
        (node.lineno, str(node.args[1].value))
        for node in ast.walk(scope)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "failpoint"
        and isinstance(node.args[1], ast.Constant)
    )


def _surrounding(write: Write) -> tuple[str, str]:
    """The nearest failpoints before and after a call, in the same function."""
    steps = _steps(write.scope)
    before = [step for line, step in steps if line < write.line]
    after = [step for line, step in steps if line > write.line]
    return (before[-1] if before else "", after[0] if after else "")


def test_every_write_outside_of_durable_is_on_the_list_of_exceptions(writes):
    found = sorted(write.key for write in writes if write.module != DURABLE and write.key not in ALLOWED)
    assert found == [], found


def test_every_exception_on_the_list_still_exists(writes):
    assert sorted(ALLOWED - {write.key for write in writes}) == []


def test_every_fsync_and_rename_in_durable_stands_between_its_two_failpoints(writes):
    found = {
        (write.call, *_surrounding(write)) for write in writes if write.module == DURABLE and write.key not in ALLOWED
    }
    assert found == {
        ("os.fsync", "before-fsync", "after-fsync"),
        ("replace", "before-rename", "after-rename"),
        ("os.link", "before-rename", "after-rename"),
        ("os.fsync", "before-dirsync", "after-dirsync"),
    }


def test_the_steps_that_tests_walk_are_the_failpoints_that_durable_has(repository):
    steps = {step for _, step in _steps(_modules(repository)[DURABLE])}
    assert steps == set(STEPS)


def test_failpoints_stand_nowhere_else(repository):
    elsewhere = [name for name, module in _modules(repository).items() if _steps(module) and name != DURABLE]
    assert elsewhere == []


def test_the_labels_that_tests_walk_are_the_labels_that_write_paths_have(repository):
    """`durable_file(directory, label)` and `write_durably(destination, data, label)`, labels written out."""
    used = set()
    for name, module in _modules(repository).items():
        if name == DURABLE:
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                position = {"durable_file": 1, "write_durably": 2}.get(node.func.id)
                if position is not None:
                    label = node.args[position]
                    used.add(label.value if isinstance(label, ast.Constant) else ast.unparse(label))
    assert used == set(LABELS)


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("path.write_bytes(b'')", "write_bytes"),
        ("path.write_text('')", "write_text"),
        ("path.open('wb')", "open"),
        ("path.open(mode='a')", "open"),
        ("open(path, 'x')", "open"),
        ("open(path, mode='r+')", "open"),
        ("open(path)", None),
        ("path.open('rb')", None),
        ("os.open(path, os.O_RDONLY | os.O_CREAT)", "os.open"),
        ("os.open(path, os.O_RDONLY)", None),
        ("os.rename(a, b)", "os.rename"),
        ("os.replace(a, b)", "os.replace"),
        ("a.replace(b)", "replace"),
        ("text.replace('a', 'b')", None),
        ("os.link(a, b)", "os.link"),
        ("os.fsync(handle)", "os.fsync"),
        ("shutil.copyfile(a, b)", "shutil.copyfile"),
        ("tempfile.mkstemp()", "tempfile.mkstemp"),
    ],
)
def test_the_search_knows_a_write_when_it_sees_one(source, what):
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    assert _what_it_writes(call) == what


def test_the_flags_that_the_search_knows_are_flags():
    assert all(hasattr(os, flag) for flag in OPEN_FLAGS_THAT_WRITE)
