"""Run the model of an lftool bundle in place: `runner.py BUNDLE [-p PROMPT]`. Runtime python/1, a frozen file.

It needs Python 3.8 and llama-cpp-python, nothing of lftool. The weights are mapped where they lie in the bundle.
"""

import argparse
import ctypes
import hashlib
import json
import os
import struct
import sys
import time


def read_directory(bundle):
    """Return member path to (data offset, size), from the central directory at the end of the file."""
    size = bundle.seek(0, 2)
    bundle.seek(max(0, size - 98))
    tail = bundle.read()
    length, start = struct.unpack("<II", tail[-10:-2])
    if tail[-98:-94] == b"PK\6\6":
        length, start = struct.unpack("<QQ", tail[-58:-42])
    bundle.seek(start)
    directory, at, found = bundle.read(length), 0, {}
    while directory[at : at + 4] == b"PK\1\2":
        size, names, extras = struct.unpack("<IHH", directory[at + 24 : at + 32])
        offset = struct.unpack("<I", directory[at + 42 : at + 46])[0]
        name = directory[at + 46 : at + 46 + names].decode()
        extra = directory[at + 46 + names : at + 46 + names + extras]
        if offset == 0xFFFFFFFF:
            offset = struct.unpack("<Q", extra[-8:])[0]
        if size == 0xFFFFFFFF:
            size = struct.unpack("<Q", extra[4:12])[0]
        bundle.seek(offset + 26)
        found[name] = (offset + 30 + sum(struct.unpack("<HH", bundle.read(4))), size)
        at += 46 + names + extras
    return found


def bundle_name(path):
    """Return what to call the bundle in messages: `lftool run` hands over an open file, which has no name of its own."""
    return os.environ.get("LFTOOL_BUNDLE", path) if path.startswith("/dev/fd/") else path


class Bundle:
    """The parts of a bundle that running needs."""

    def __init__(self, path):
        self.path = path
        self.name = bundle_name(path)
        with open(path, "rb") as bundle:
            self.members = read_directory(bundle)
            if "lftool/bundle.json" not in self.members:
                sys.exit(self.name + ": not an lftool bundle")
            bundle.seek(self.members["lftool/bundle.json"][0])
            self.manifest = json.loads(bundle.read(self.members["lftool/bundle.json"][1]).decode())
        self.contract = self.manifest.get("run", {})
        self.offset = self.offset_of("weights") or 0
        self.adapter = self.offset_of("adapter")

    def offset_of(self, role):
        """Return where the member of a role lies in the file; None if there is none."""
        paths = [member["path"] for member in self.manifest["members"] if member["role"] == role]
        return self.members[paths[0]][0] if paths else None

    def verify(self):
        """Compare every content with the digest that the manifest names; return the names of those that differ."""
        wrong = []
        contents = [("prefix", 0, self.manifest["prefix"])]
        contents += [(member["path"], self.members[member["path"]][0], member) for member in self.manifest["members"]]
        with open(self.path, "rb") as bundle:
            for name, offset, content in contents:
                bundle.seek(offset)
                state, left = hashlib.sha256(), content["size"]
                while left:
                    piece = bundle.read(min(left, 1 << 22))
                    if not piece:
                        break
                    state.update(piece)
                    left -= len(piece)
                if state.hexdigest() != content["sha256"]:
                    wrong.append(name)
        return wrong


def load_in_place(bundle):
    """Have llama_cpp map the weights where they lie in the bundle: llama.cpp gets a FILE* at their offset."""
    try:
        import llama_cpp
    except ImportError:
        sys.stderr.write(
            "%s: needs llama-cpp-python; install it with: %s -m pip install llama-cpp-python\n"
            % (bundle.name, sys.executable)
        )
        sys.exit(8)
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    libc.fseeko.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]

    def opened(offset):
        file = libc.fopen(os.fsencode(bundle.path), b"rb")
        return file if file and not libc.fseeko(file, offset, 0) else None

    def from_bundle(path, params):
        file = opened(bundle.offset)
        return llama_cpp.llama_cpp.llama_model_load_from_file_ptr(file, params) if file else None

    def adapt(model):
        if bundle.adapter is None:
            return
        adapter = llama_cpp.llama_adapter_lora_init_from_file_ptr(model.model, opened(bundle.adapter))
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        if not adapter or llama_cpp.llama_set_adapters_lora(model.ctx, adapters, 1, (ctypes.c_float * 1)(1.0)):
            sys.exit(bundle.name + ": llama.cpp does not take the LoRA adapter: it is for another model")

    llama_cpp.llama_cpp.llama_model_load_from_file = from_bundle
    return llama_cpp, adapt


def offload(bundle, llama_cpp, options):
    """Return what llama_cpp.Llama is told of accelerators; nothing where nothing was asked for."""
    if options.require_device and not llama_cpp.llama_supports_gpu_offload():
        sys.stderr.write(bundle.name + ": there is no device here that this llama-cpp-python can compute on\n")
        sys.exit(8)
    told = {}
    if options.gpu_layers is not None:
        told["n_gpu_layers"] = options.gpu_layers
    if options.tensor_split:
        told["tensor_split"] = [float(part) for part in options.tensor_split.split(",")]
    if options.flash_attention == "on":
        told["flash_attn"] = True
    return told


def threads():
    """Return how many threads llama_cpp.Llama gets: its own defaults, but not more than there are cores to run on."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return {"n_threads": max(1, min(cores // 2, usable)), "n_threads_batch": min(cores, usable)}


# What a chat template may take: it comes with the model, and jinja's sandbox keeps it from the interpreter, not from taking time.
TEMPLATE_BYTES = 1 << 20
TEMPLATE_SECONDS = 5.0
TEMPLATE_BITS = 4096  # of a number that it computes
TEMPLATE_ITEMS = 1 << 24  # of a text or a list that it repeats


class TemplateError(ValueError):
    """A chat template cannot be used."""


class TemplateBudgetError(TemplateError):
    """It is larger, or takes longer, than it may."""


def within_budget(render, seconds=TEMPLATE_SECONDS):
    """Return what render() returns; each thousandth line of Python that it executes looks at the time."""
    until = time.monotonic() + seconds
    lines = [0]

    def look(frame, event, argument):
        lines[0] += 1
        if lines[0] % 1000 == 0 and time.monotonic() > until:
            raise TemplateBudgetError("the chat template takes longer than %g s" % seconds)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        return render()
    finally:
        sys.settrace(before)


def check_operands(operator, left, right):
    """Refuse a product or a power that would take long inside of one operation."""
    bits = [value.bit_length() if isinstance(value, int) else 0 for value in (left, right)]
    if operator == "**" and (max(bits) > 64 or (isinstance(right, int) and bits[0] * abs(right) > TEMPLATE_BITS)):
        raise TemplateBudgetError("the chat template computes a number of more than %d bits" % TEMPLATE_BITS)
    if operator == "*" and sum(bits) > TEMPLATE_BITS:
        raise TemplateBudgetError("the chat template computes a number of more than %d bits" % TEMPLATE_BITS)
    for value, times in ((left, right), (right, left)):
        if operator == "*" and hasattr(value, "__len__") and isinstance(times, int) and len(value) * times > TEMPLATE_ITEMS:
            raise TemplateBudgetError("the chat template makes a text or a list of more than %d items" % TEMPLATE_ITEMS)


def bound_templates(llama_cpp, seconds=TEMPLATE_SECONDS):
    """Have llama-cpp-python read and render every chat template of this process within the budget."""
    from jinja2.sandbox import SandboxedEnvironment

    formatter = llama_cpp.llama_chat_format.Jinja2ChatFormatter
    made, rendered, computed = formatter.__init__, formatter.__call__, SandboxedEnvironment.call_binop

    def bounded_init(self, template, *arguments, **named):
        self.refused = None  # an error waits until somebody chats: texts are completed without a template
        try:
            if len(template.encode()) > TEMPLATE_BYTES:
                raise TemplateBudgetError("the chat template has more than %d bytes" % TEMPLATE_BYTES)
            within_budget(lambda: made(self, template, *arguments, **named), seconds)
        except TemplateBudgetError as error:
            self.refused = error
        except Exception as error:
            self.refused = TemplateError("the chat template does not compile: %s" % error)

    def bounded_call(self, **named):
        if self.refused is not None:
            raise self.refused
        return within_budget(lambda: rendered(self, **named), seconds)

    def bounded_binop(self, context, operator, left, right):
        check_operands(operator, left, right)
        return computed(self, context, operator, left, right)

    formatter.__init__, formatter.__call__ = bounded_init, bounded_call
    SandboxedEnvironment.intercepted_binops = frozenset(["*", "**"])
    SandboxedEnvironment.call_binop = bounded_binop


def text_of(message):
    """Return the text of a message, which may come in parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def chat_as_the_model_says(llama_cpp, model):
    """Chat by the model's template where it is one; by llama.cpp's own where it is a name; without one, complete what is said."""
    template = model.metadata.get("tokenizer.chat_template")
    if template is not None and "{" in template:
        return

    def as_given(messages, **named):
        return "\n".join(map(text_of, messages))

    def by_name(messages, **named):
        said = [(message["role"].encode(), text_of(message).encode()) for message in messages]
        chat = (llama_cpp.llama_chat_message * len(said))(*said)
        size = llama_cpp.llama_chat_apply_template(template.encode(), chat, len(said), True, None, 0)
        if size < 0:
            raise TemplateError("the chat template is %r: neither a template, nor a name that llama.cpp knows" % template[:80])
        prompt = ctypes.create_string_buffer(size + 1)
        llama_cpp.llama_chat_apply_template(template.encode(), chat, len(said), True, prompt, size + 1)
        return prompt.raw[:size].decode("utf-8", "replace")

    render, formats = (as_given if template is None else by_name), llama_cpp.llama_chat_format
    model.chat_handler = formats.chat_formatter_to_chat_completion_handler(
        lambda **named: formats.ChatFormatterResponse(prompt=render(**named))
    )


# Architectures of llama.cpp that make vectors and no text; any model does that says how its output is pooled (llama.h).
ENCODERS = ["bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert"]
ENCODERS += ["gemma-embedding", "t5encoder"]
MEAN, RANK = 1, 4
MOST_ERRORS = 100  # of llama.cpp, that are kept
MOST_TOKENS = 2048  # of a text that becomes a vector, where the contract names no context


def read_facts(bundle):
    """Return the scalar metadata of the weights before their tokenizer; of an encoder all, and `tensors`, their names."""
    scalars = dict(enumerate(["<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", None, None, "<Q", "<q", "<d"]))
    facts = {}
    with open(bundle.path, "rb") as file:

        def number(form):
            return struct.unpack(form, file.read(struct.calcsize(form)))[0]

        def text():
            return file.read(number("<Q")).decode("utf-8", "replace")

        file.seek(bundle.offset + 8)
        tensors = number("<Q")
        for _ in range(number("<Q")):
            key, kind = text(), number("<I")
            if key.startswith("tokenizer.") and facts.get("general.architecture") not in ENCODERS:
                return facts
            if kind == 9:
                kind, count = number("<I"), number("<Q")
                if kind == 8:
                    for _ in range(count):
                        file.seek(number("<Q"), 1)
                else:
                    file.seek(count * struct.calcsize(scalars[kind]), 1)
            else:
                facts[key] = text() if kind == 8 else number(scalars[kind])
        facts["tensors"] = []
        for _ in range(tensors):
            facts["tensors"].append(text())
            file.seek(number("<I") * 8 + 12, 1)
    return facts


def kind_of(facts):
    """Return what a model does, `generates`, `embeds` or `ranks`, and how its output is pooled: None where it does not say."""
    architecture = facts.get("general.architecture")
    pooling = facts.get("%s.pooling_type" % architecture)
    pooling = None if pooling is None else int(pooling)
    if pooling == RANK or any(name.startswith("cls.") for name in facts.get("tensors", [])):
        return "ranks", RANK
    return ("embeds" if pooling or architecture in ENCODERS else "generates"), pooling


def engine_errors(llama_cpp):
    """Return the list that llama.cpp's errors are added to from now on: it gives no reasons, it logs them."""
    errors, last = [], [0]

    def take(level, text, user):
        last[0] = last[0] if level == 5 else level  # GGML_LOG_LEVEL_CONT
        if last[0] == 4:  # GGML_LOG_LEVEL_ERROR
            errors.append(text.decode("utf-8", "replace").strip())
            del errors[:-MOST_ERRORS]

    callback = llama_cpp.llama_log_callback(take)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(callback))  # llama.cpp calls it as long as this process lives
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    return errors


def why_not_loaded(bundle, errors):
    """Return what llama.cpp says of a model that it does not load, or of a context that it does not make."""
    text, tokens = " ".join(errors), bundle.contract.get("context")
    if "failed to initialize the context" in text or "bad_alloc" in text:
        size = text.partition("failed to allocate buffer of size ")[2].partition(" ")[0]
        needs = "allocating %.1f GB of memory in one piece failed" % (int(size) / 1e9) if size.isdigit() else "there is not enough memory"
        asked = "%d tokens ([run] context)" % tokens if tokens else "as many tokens as the model was trained with"
        return "llama.cpp cannot make a context of %s: %s" % (asked, needs)
    first = errors[0] if errors else "it does not say why"
    for prefix in ("llama_model_load: ", "error loading model: ", "check_tensor_dims: "):
        first = first[len(prefix) :] if first.startswith(prefix) else first
    return "llama.cpp cannot load the model: %s" % first


def load(bundle, options, embeddings=False):
    """Return llama_cpp.Llama of a bundle, and what it does; `embeddings` has a model make vectors that generates."""
    llama_cpp, adapt = load_in_place(bundle)
    errors = engine_errors(llama_cpp)
    bound_templates(llama_cpp)
    facts = read_facts(bundle)
    kind, pooling = kind_of(facts)
    if kind == "ranks":
        sys.stderr.write("%s: this model ranks documents, and llama-cpp-python cannot serve it\n" % bundle.name)
        sys.stderr.write("  hint: compile a native runtime: lftool runtime build\n")
        sys.exit(8)
    told, context = offload(bundle, llama_cpp, options), bundle.contract.get("context", 0)
    if embeddings or kind == "embeds":
        kind = "embeds"
        context = context or min(facts.get("%s.context_length" % facts["general.architecture"], MOST_TOKENS), MOST_TOKENS)
        # A text must fit into one batch: its tokens look at one another.
        told.update(embedding=True, n_batch=context, n_ubatch=context)
        if not pooling:
            told["pooling_type"] = MEAN
    try:
        model = llama_cpp.Llama(
            model_path=bundle.path,
            n_ctx=context,
            seed=bundle.contract.get("seed", 0),
            use_mmap=True,
            verbose=False,
            **threads(),
            **told
        )
    except ValueError:
        sys.exit("%s: %s" % (bundle.name, why_not_loaded(bundle, errors)))
    adapt(model)
    chat_as_the_model_says(llama_cpp, model)
    return model, kind


def embed(model, text):
    """Return the vector of a text, of length 1, and how many tokens it has."""
    vectors, tokens = model.embed([text], normalize=True, truncate=False, return_count=True)
    return vectors[0], tokens


def add_devices(parser):
    """Add the options that say where to compute."""
    parser.add_argument("--gpu-layers", type=int, metavar="N", help="how many layers go to accelerators; default: none")
    parser.add_argument("--tensor-split", metavar="A,B,...", help="how they are shared among accelerators")
    parser.add_argument("--flash-attention", choices=["on", "off", "auto"], help="default: auto")
    parser.add_argument("--require-device", action="store_true", help="do not start without an accelerator")


# What could steer a terminal: control characters but tab and line break, and what turns the direction of text.
STEERING = {code: "\\x%02x" % code for code in [*range(9), *range(11, 32), *range(127, 160)]}
STEERING.update({code: "\\u%04x" % code for code in [0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]})


def shown(text):
    """Return text of a model as standard output may have it: as it is, unless that is a terminal."""
    return text.translate(STEERING) if sys.stdout.isatty() else text


class Session:
    """One model, one contract, one conversation."""

    def __init__(self, bundle, options):
        contract = self.contract = bundle.contract
        self.model, self.kind = load(bundle, options)
        self.sampling = {}
        for name in ("temperature", "top_p", "min_p", "repeat_penalty"):
            if name in contract:
                self.sampling[name] = float(contract[name])
        if "top_k" in contract:
            self.sampling["top_k"] = contract["top_k"]
        if contract.get("stop"):
            self.sampling["stop"] = contract["stop"]
        most = options.max_tokens or contract.get("max_tokens")
        if most:
            self.sampling["max_tokens"] = most
        elif options.raw or "tokenizer.chat_template" not in self.model.metadata:
            self.sampling["max_tokens"] = -1
        self.raw = options.raw or "tokenizer.chat_template" not in self.model.metadata
        self.messages = [{"role": "system", "content": contract["system"]}] if contract.get("system") else []

    def answer(self, prompt):
        """Write the answer to standard output as it comes; a vector as JSON."""
        if self.kind == "embeds":
            sys.stdout.write(json.dumps(embed(self.model, prompt)[0]) + "\n")
            return
        if self.raw:
            stream = self.model.create_completion(prompt, stream=True, **self.sampling)
            pieces = (part["choices"][0]["text"] for part in stream)
        else:
            self.messages.append({"role": "user", "content": prompt})
            stream = self.model.create_chat_completion(self.messages, stream=True, **self.sampling)
            pieces = (part["choices"][0]["delta"].get("content") or "" for part in stream)
        said = []
        for piece in pieces:
            if not said and not self.raw:
                piece = piece.lstrip()  # a template ends before the space that begins an answer
            if piece:
                sys.stdout.write(shown(piece))
                sys.stdout.flush()
                said.append(piece)
        sys.stdout.write("\n")
        sys.stdout.flush()
        self.messages.append({"role": "assistant", "content": "".join(said)})

    def chat(self):
        """Talk until the input ends."""
        try:
            import readline  # noqa: F401 - gives input() line editing
        except ImportError:
            pass
        sys.stderr.write("Ctrl-D ends the conversation.\n")
        while True:
            try:
                prompt = input("> ")
            except EOFError:
                sys.stdout.write("\n")
                return
            if prompt.strip():
                try:
                    self.answer(prompt)
                except ValueError as error:  # the conversation has outgrown the context
                    sys.stderr.write("%s; starting a new conversation\n" % error)
                    self.messages = self.messages[: 1 if self.contract.get("system") else 0]


def main():
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(
        prog=os.path.basename(bundle_name(sys.argv[1])), description="Run the model in this file.", allow_abbrev=False
    )
    parser.add_argument("-p", "--prompt", help="answer this and exit; default: standard input, or a chat")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="at most N tokens an answer")
    parser.add_argument("--raw", action="store_true", help="complete the text as given, without the chat template")
    parser.add_argument("--verify", action="store_true", help="check every content against the manifest and exit")
    add_devices(parser)
    options = parser.parse_args(sys.argv[2:])
    bundle = Bundle(sys.argv[1])
    if options.verify:
        wrong = bundle.verify()
        for name in wrong:
            sys.stderr.write("%s: %s is not what the manifest names\n" % (bundle.name, name))
        if wrong:
            sys.exit(4)
        sys.stdout.write("every content is what the manifest names; `lftool verify` also says who signed it\n")
        return
    prompt = options.prompt
    if prompt is None and (sys.stdin is None or not sys.stdin.isatty()):
        prompt = sys.stdin.read() if sys.stdin else ""
        prompt = prompt[:-1] if prompt.endswith("\n") else prompt
        if not prompt.strip():
            sys.exit("%s: no prompt: give -p, or write one to standard input" % bundle.name)
    session = Session(bundle, options)
    if prompt is None and session.kind == "embeds":
        sys.exit("%s: this is an embedding model; give it a text with -p or on standard input" % bundle.name)
    if prompt is None:
        session.chat()
    else:
        session.answer(prompt)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:  # of llama-cpp-python: a model it does not know, a prompt too long, a faulty template
        if os.environ.get("LFTOOL_TRACEBACK"):
            raise
        message = str(error).replace(sys.argv[1], bundle_name(sys.argv[1]))
        sys.stderr.write("%s: %s\n" % (bundle_name(sys.argv[1]), message or type(error).__name__))
        sys.exit(1)
