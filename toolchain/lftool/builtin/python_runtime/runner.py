"""Run the model of an lftool bundle in place: `runner.py BUNDLE [-p PROMPT]`. Runtime python/1, a frozen file.

It needs Python 3.8 and llama-cpp-python, nothing of lftool. The weights are mapped where they lie in the bundle.
"""

import argparse
import ctypes
import hashlib
import json
import os
import re
import signal
import struct
import sys
import time


def read_directory(bundle):
    """Return member path to (data offset, size), from the central directory at the end of the file."""
    size = bundle.seek(0, 2)
    bundle.seek(max(0, size - 98))
    tail = bundle.read()
    if tail[-22:-18] != b"PK\5\6":
        return {}
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
    """The parts of a bundle that running needs. A GGUF that is no bundle has weights and nothing else."""

    def __init__(self, path):
        self.path = path
        self.name = bundle_name(path)
        with open(path, "rb") as bundle:
            self.members = read_directory(bundle)
            bundle.seek(0)
            unpacked = not self.members and bundle.read(4) == b"GGUF"
            if not unpacked and "lftool/bundle.json" not in self.members:
                sys.exit(self.name + ": not an lftool bundle")
            if unpacked:
                title = os.path.basename(self.name)
                self.manifest = {"name": title[:-5] if title.endswith(".gguf") else title, "members": []}
            else:
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
        if "prefix" not in self.manifest:
            sys.exit(self.name + ": a GGUF, not a bundle: nothing names what its bytes must be")
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


# What of a run contract is applied here. What comes later is refused, not left out.
APPLIED = ["cache_type", "context", "grammar", "json_schema", "max_tokens", "min_p", "reasoning", "repeat_penalty", "rope_freq_base"]
APPLIED += ["rope_scale", "rope_scaling", "seed", "stop", "stop_tokens", "system", "temperature", "top_k", "top_p", "yarn_original_context"]


def check_contract(bundle):
    """End where the run contract says what is not applied here."""
    beyond = sorted(set(bundle.contract) - set(APPLIED))
    if beyond:
        sys.stderr.write("%s: its run contract says %s, which this runner does not know\n" % (bundle.name, ", ".join(map(repr, beyond))))
        sys.exit(8)


# As ggml.h and llama.h number them.
CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
FLOATS = ["f32", "f16", "bf16"]
ROPE_SCALINGS = {"none": 0, "linear": 1, "yarn": 2}


def context_of(contract, flash_attention=None):
    """Return what llama_cpp.Llama is told of its cache and of positions; nothing where the contract says nothing."""
    told = {}
    kind = contract.get("cache_type")
    if kind is not None:
        told.update(type_k=CACHE_TYPES[kind], type_v=CACHE_TYPES[kind])
        if kind not in FLOATS and flash_attention != "off":
            told["flash_attn"] = True  # llama.cpp has a quantised cache of values only with it
    if "rope_scaling" in contract:
        told["rope_scaling_type"] = ROPE_SCALINGS[contract["rope_scaling"]]
    if "rope_scale" in contract:
        told["rope_freq_scale"] = 1 / float(contract["rope_scale"])
    if "rope_freq_base" in contract:
        told["rope_freq_base"] = float(contract["rope_freq_base"])
    if "yarn_original_context" in contract:
        told["yarn_orig_ctx"] = contract["yarn_original_context"]
    return told


def end_at(bundle, llama_cpp, model):
    """Have the tokens that the contract names end an answer, as the model's own do."""
    vocab, texts, ends = model._model.vocab, {text.encode() for text in bundle.contract.get("stop_tokens", [])}, {}
    if not texts:
        return
    for token in range(model.n_vocab()):
        text = llama_cpp.llama_vocab_get_text(vocab, token)
        if text in texts:
            ends[token] = text
    for text in sorted(texts - set(ends.values())):
        sys.exit("%s: its vocabulary has no token %r ([run] stop_tokens)" % (bundle.name, text.decode("utf-8", "replace")))
    own = llama_cpp.llama_vocab_is_eog

    def is_end(vocabulary, token):
        return token in ends or own(vocabulary, token)

    llama_cpp.llama_vocab_is_eog = llama_cpp.llama_cpp.llama_vocab_is_eog = is_end


# Keywords that llama-cpp-python's converter leaves out, and says nothing.
LEFT_OUT = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems", "contains", "not", "if"]
LEFT_OUT += ["minProperties", "maxProperties", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"]


def check_keywords(schema):
    """Raise ValueError where a schema says what no grammar of llama-cpp-python's does."""
    if isinstance(schema, list):
        for part in schema:
            check_keywords(part)
    if not isinstance(schema, dict):
        return
    for name, value in schema.items():
        if name in LEFT_OUT:
            raise ValueError("it leaves out the keyword %s" % name)
        if name in ("properties", "$defs", "definitions"):
            check_keywords(list(value.values()))
        elif name not in ("const", "enum", "default", "examples"):
            check_keywords(value)
    unknown = sorted(set(schema.get("required", [])) - set(schema.get("properties", {})))
    if unknown:
        raise ValueError("the required property %r has no schema" % unknown[0])


def held_to(bundle, llama_cpp, model):
    """Return the grammar that the contract holds answers to; None where there is none."""
    from llama_cpp.llama_grammar import LlamaGrammar, json_schema_to_gbnf

    contract = bundle.contract
    text = contract.get("grammar")
    if "json_schema" in contract:
        try:
            check_keywords(json.loads(contract["json_schema"]))
            text = json_schema_to_gbnf(contract["json_schema"])
        except Exception as error:  # whatever it meets in a schema
            sys.exit("%s: llama-cpp-python cannot hold answers to [run] json_schema: %s" % (bundle.name, error))
    if text is None:
        return None
    sampler = llama_cpp.llama_sampler_init_grammar(model._model.vocab, text.encode(), b"root")
    if not sampler:
        sys.exit("%s: llama.cpp does not take [run] %s" % (bundle.name, "json_schema" if "json_schema" in contract else "grammar"))
    llama_cpp.llama_sampler_free(sampler)
    return LlamaGrammar.from_string(text, verbose=False)


def threads(asked=None):
    """Return how many threads llama_cpp.Llama gets: its own defaults, but not more than there are cores to run on."""
    if asked:
        return {"n_threads": asked, "n_threads_batch": asked}
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


def bound_templates(llama_cpp, seconds=TEMPLATE_SECONDS, variables=()):
    """Have llama-cpp-python read and render every chat template of this process within the budget; it sees `variables` besides."""
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
        return within_budget(lambda: rendered(self, **dict(variables, **named)), seconds)

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


NO_TEMPLATE = "this model has no chat template: it continues the text as it is"


def as_given(messages):
    """Return what a model without a chat template goes on with."""
    return "\n".join(map(text_of, messages))


def chat_as_the_model_says(llama_cpp, model):
    """Chat by the model's template where it is one; by llama.cpp's own where it is a name; without one, complete what is said.

    llama-cpp-python would take one of its own where it recognises the model's, and another model's where there is none.
    """
    template, formats = model.metadata.get("tokenizer.chat_template"), llama_cpp.llama_chat_format

    def without(messages, **named):
        return formats.ChatFormatterResponse(prompt=as_given(messages))

    def by_name(messages, **named):
        said = [(message["role"].encode(), text_of(message).encode()) for message in messages]
        chat = (llama_cpp.llama_chat_message * len(said))(*said)
        size = llama_cpp.llama_chat_apply_template(template.encode(), chat, len(said), True, None, 0)
        if size < 0:
            raise TemplateError("the chat template is %r: neither a template, nor a name that llama.cpp knows" % template[:80])
        prompt = ctypes.create_string_buffer(size + 1)
        llama_cpp.llama_chat_apply_template(template.encode(), chat, len(said), True, prompt, size + 1)
        return formats.ChatFormatterResponse(prompt=prompt.raw[:size].decode("utf-8", "replace"))

    def token_text(token):
        return model._model.token_get_text(token) if token >= 0 else ""

    if template is None:
        formatter = without
    elif "{" not in template:
        formatter = by_name
    else:
        formatter = formats.Jinja2ChatFormatter(
            template=template,
            eos_token=token_text(model.token_eos()),
            bos_token=token_text(model.token_bos()),
            stop_token_ids=[model.token_eos()],
        )
    model.chat_formatter = formatter
    model.chat_handler = formats.chat_formatter_to_chat_completion_handler(formatter)


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


# What llama.cpp says of models that came after it.
OF_NEWER_MODELS = ("unknown model architecture", "unknown pre-tokenizer type", "error loading model vocabulary: unknown pre-tokenizer")


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
    if first.startswith(OF_NEWER_MODELS) or "invalid ggml type" in first:
        import llama_cpp

        first += "; llama-cpp-python %s may be older than the model" % llama_cpp.__version__
    return "llama.cpp cannot load the model: %s" % first


def load(bundle, options, embeddings=False):
    """Return llama_cpp.Llama of a bundle, and what it does; `embeddings` has a model make vectors that generates."""
    check_contract(bundle)
    llama_cpp, adapt = load_in_place(bundle)
    errors = engine_errors(llama_cpp)
    bound_templates(llama_cpp, variables={} if options.think is None else {"enable_thinking": options.think})
    facts = read_facts(bundle)
    kind, pooling = kind_of(facts)
    told, context = context_of(bundle.contract, options.flash_attention), bundle.contract.get("context", 0)
    told.update(offload(bundle, llama_cpp, options))
    if embeddings or kind != "generates":
        kind = "ranks" if kind == "ranks" else "embeds"
        context = context or min(facts.get("%s.context_length" % facts["general.architecture"], MOST_TOKENS), MOST_TOKENS)
        # A text must fit into one batch: its tokens look at one another.
        told.update(embedding=True, n_batch=context, n_ubatch=context)
        if kind == "ranks" or not pooling:
            told["pooling_type"] = RANK if kind == "ranks" else MEAN
    try:
        model = llama_cpp.Llama(
            model_path=bundle.path,
            n_ctx=context,
            seed=bundle.contract.get("seed", 0),
            use_mmap=True,
            verbose=False,
            **threads(options.threads),
            **told
        )
    except ValueError:
        sys.exit("%s: %s" % (bundle.name, why_not_loaded(bundle, errors)))
    adapt(model)
    end_at(bundle, llama_cpp, model)
    model.held = held_to(bundle, llama_cpp, model) if kind == "generates" else None
    chat_as_the_model_says(llama_cpp, model)
    return model, kind


def embed(model, text):
    """Return the vector of a text, of length 1, and how many tokens it has."""
    vectors, tokens = model.embed([text], normalize=True, truncate=False, return_count=True)
    return vectors[0], tokens


def rank(model, query, document):
    """Return the score of a document for a query, and how many tokens they have together; llama-server asks the same."""
    import llama_cpp

    template, vocab = llama_cpp.llama_model_chat_template(model.model, b"rerank"), model._model.vocab
    if template is not None:
        text = template.replace(b"{query}", query.encode()).replace(b"{document}", document.encode())
        tokens = model.tokenize(text, add_bos=False, special=True)
    else:
        asked, said = (model.tokenize(text.encode(), add_bos=False, special=False) for text in (query, document))
        end, separator = llama_cpp.llama_vocab_eos(vocab), llama_cpp.llama_vocab_sep(vocab)
        end = [separator if end < 0 else end] if llama_cpp.llama_vocab_get_add_eos(vocab) else []
        first = [llama_cpp.llama_vocab_bos(vocab)] if llama_cpp.llama_vocab_get_add_bos(vocab) else []
        between = [separator] if llama_cpp.llama_vocab_get_add_sep(vocab) else []
        tokens = [*first, *asked, *end, *between, *said, *end]
    if len(tokens) > model.n_batch:
        raise ValueError("Requested tokens (%d) exceed batch size of %d" % (len(tokens), model.n_batch))
    model._batch.reset()
    model._batch.add_sequence(tokens, 0, True)
    model._ctx.kv_cache_clear()
    model._ctx.decode(model._batch)
    model._batch.reset()
    return llama_cpp.llama_get_embeddings_seq(model.ctx, 0)[0], len(tokens)


def number(low, high, kind=float):
    """Return what reads a number from `low` to `high` for argparse."""

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError("%r is not a number from %s to %s" % (text, low, high))
        return value

    return read


def add_options(parser, contract):
    """Add the options that take the place of what a run contract says, and those that say where to compute."""

    def said(name, else_):
        return "default: %s" % (contract[name] if name in contract else else_)

    parser.add_argument("--max-tokens", type=number(1, 2**31 - 1, int), metavar="N", help="at most N tokens an answer; " + said("max_tokens", "no limit"))
    parser.add_argument("--temperature", type=number(0, 100), metavar="T", help=said("temperature", DEFAULTS["temperature"]))
    parser.add_argument("--top-p", type=number(0, 1), metavar="P", help=said("top_p", DEFAULTS["top_p"]))
    parser.add_argument("--seed", type=number(0, 2**32 - 2, int), metavar="N", help=said("seed", "0"))
    parser.add_argument("--system", metavar="TEXT", help="system prompt; " + said("system", "none").replace("%", "%%")[:200])
    parser.add_argument("--ctx", type=number(1, 2**31 - 1, int), metavar="N", help="tokens of context; " + said("context", "the model's"))
    parser.add_argument("--threads", type=number(1, 512, int), metavar="N", help="default: half of the cores")
    thinking = parser.add_mutually_exclusive_group()
    thinking.add_argument("--think", dest="think", action="store_const", const=True, help="have the model think first, if it can")
    thinking.add_argument("--no-think", dest="think", action="store_const", const=False, help="have it answer at once")
    add_devices(parser)


def apply_options(bundle, options):
    """Put what the options say in the place of what the run contract says."""
    given = {"context": options.ctx}
    given.update((name, getattr(options, name)) for name in ("max_tokens", "temperature", "top_p", "seed", "system"))
    bundle.contract = dict(bundle.contract, **{name: value for name, value in given.items() if value is not None})
    if options.think is None and "reasoning" in bundle.contract:
        options.think = bundle.contract["reasoning"] == "on"


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


class Stopped(Exception):
    """An answer was stopped, by Ctrl-C."""


def interruptible(model, look):
    """Have the engine give up a prompt in the middle of a batch where `look` raises; `model.eval` then raises that."""
    import llama_cpp

    evaluate, raised = model.eval, []

    def gives_up(_):
        try:
            look()
        except BaseException as error:  # a callback of C raises nothing
            raised[:] = [error]
        return bool(raised)

    callback, none = llama_cpp.ggml_abort_callback(gives_up), llama_cpp.ggml_abort_callback()

    def evaluated(tokens):
        if len(tokens) < 2:  # the engine asks at each of a thousand steps, which costs a token a few per cent
            return evaluate(tokens)
        del raised[:]
        llama_cpp.llama_set_abort_callback(model.ctx, callback, None)
        try:
            return evaluate(tokens)
        except RuntimeError:  # llama_decode says 2
            if raised:
                raise raised[0]
            raise
        finally:
            llama_cpp.llama_set_abort_callback(model.ctx, none, None)

    model.eval = evaluated


class TooLong(ValueError):
    """A prompt does not fit into the context."""

    def __init__(self, count, context):
        ValueError.__init__(self, "the prompt has %d tokens and the context %d, which leaves no room for an answer; use a larger --ctx" % (count, context))


class Reading:
    """Has a long prompt read batch by batch: a terminal shows how far it is, and `look` can stop it."""

    def __init__(self, model):
        self.model, self.evaluate = model, model.eval
        self.look, self.progress = lambda: None, ""
        model.eval = self.in_batches

    def in_batches(self, tokens):
        whole, size = len(tokens), self.model.n_batch
        context = len(self.model.input_ids)  # as asked for; llama.cpp's own is a multiple of 256
        if whole > 1 and self.model.n_tokens + whole >= context:  # llama-cpp-python would fail in NumPy
            raise TooLong(self.model.n_tokens + whole, context)
        if whole <= size:
            return self.evaluate(tokens)
        for at in range(0, whole, size):
            if sys.stderr.isatty():
                self.progress = "reading the prompt: %d %%" % (100 * at // whole)
                sys.stderr.write("\r%s" % self.progress)
                sys.stderr.flush()
            self.evaluate(tokens[at : at + size])
            self.look()

    def erase(self):
        """Remove the progress from the terminal."""
        if self.progress:
            sys.stderr.write("\r%s\r" % (" " * len(self.progress)))
            sys.stderr.flush()
            self.progress = ""


# llama.cpp's own, which the native runtime has too. llama-cpp-python's for chats are others: a temperature of 0.2, and a penalty
# of 1.1 on tokens that come again, which are often the words of the question.
DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0}


def in_context(stream):
    """Yield the parts of an answer; say in our words where the prompt is too long for llama-cpp-python."""
    try:
        for part in stream:
            yield part
    except ValueError as error:
        found = re.search(r"Requested tokens \((\d+)\) exceed context window of (\d+)", str(error))
        if not found:
            raise
        raise TooLong(int(found[1]), int(found[2]))


def load_to_talk(bundle, options):
    """Return the model, what it does, and what its prompts are read with."""
    model, kind = load(bundle, options)
    interruptible(model, lambda: reading.look())
    reading = Reading(model)
    return model, kind, reading


class Session:
    """One model and one contract; `load` loads it: another engine brings its own."""

    def __init__(self, bundle, options, load=load_to_talk):
        contract = self.contract = bundle.contract
        self.model, self.kind, self.reading = load(bundle, options)
        if self.kind == "ranks":
            sys.stderr.write("%s: this model ranks documents; serve it, and ask /v1/rerank\n" % bundle.name)
            sys.exit(2)
        self.sampling = dict(DEFAULTS)
        for name in ("temperature", "top_p", "min_p", "repeat_penalty"):
            if name in contract:
                self.sampling[name] = float(contract[name])
        if "top_k" in contract:
            self.sampling["top_k"] = contract["top_k"]
        if contract.get("stop"):
            self.sampling["stop"] = contract["stop"]
        if getattr(self.model, "held", None) is not None:
            self.sampling["grammar"] = self.model.held
        self.without_template = "tokenizer.chat_template" not in self.model.metadata
        self.alone = options.raw  # each question stands for itself
        self.raw = self.alone or self.without_template
        self.most = contract.get("max_tokens")
        if self.most:
            self.sampling["max_tokens"] = self.most
        elif self.raw:
            self.sampling["max_tokens"] = -1
        self.finish = None

    def pieces(self, messages):
        """Yield the answer to the last message as it comes; then `finish` says why it ended."""
        self.finish = None
        if self.raw:
            text = messages[-1]["content"] if self.alone else as_given(messages)
            stream = self.model.create_completion(text, stream=True, **self.sampling)
        else:
            stream = self.model.create_chat_completion(messages, stream=True, **self.sampling)
        begun = self.raw  # a template ends before the space that begins an answer
        for part in in_context(stream):
            choice = part["choices"][0]
            self.finish = choice.get("finish_reason") or self.finish
            piece = choice["text"] if self.raw else choice["delta"].get("content") or ""
            piece = piece if begun else piece.lstrip()
            if piece:
                begun = True
                yield piece

    def answer(self, prompt):
        """Write the answer to standard output as it comes; a vector as JSON."""
        if self.kind == "embeds":
            sys.stdout.write(json.dumps(embed(self.model, prompt)[0]) + "\n")
            return
        system = self.contract.get("system")
        messages = [{"role": "system", "content": system}] if system else []
        try:
            for piece in self.pieces([*messages, {"role": "user", "content": prompt}]):
                self.reading.erase()
                sys.stdout.write(shown(piece))
                sys.stdout.flush()
        finally:
            self.reading.erase()
        sys.stdout.write("\n")
        sys.stdout.flush()
        if self.finish == "length" and sys.stderr.isatty():
            note(self.cut())

    def cut(self):
        """Return why an answer was cut off."""
        full = self.model.n_tokens >= len(self.model.input_ids) - 1
        what = "the context of %d tokens is full" % len(self.model.input_ids)
        return "(cut off: %s)" % (what if full else "--max-tokens %s" % self.most)


def columns_of(text):
    """Return how many columns of a terminal a text takes (Unicode, UAX 11; marks that combine take none)."""
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def terminal_width():
    """Return how many columns lines may have."""
    try:
        columns = os.get_terminal_size(2).columns
    except OSError:
        columns = 0
    return columns - 1 if columns > 20 else 79  # a terminal may not know


class Wrapped:
    """Standard output as a terminal has it: lines break between words, and nothing steers."""

    def __init__(self):
        self.column, self.word = 0, ""

    def put(self, text):
        """Write text that comes in pieces; the last word waits until it ends."""
        for character in text:
            if character in " \n":
                self.flush()
                if character == "\n":
                    self._write("\n", 0)
                elif self.column < self._width():
                    self._write(" ", self.column + 1)
            else:
                self.word += character
                if columns_of(character) == 2 or columns_of(self.word) >= self._width():
                    self.flush()  # a script without spaces, or a word longer than a line
        sys.stdout.flush()

    def flush(self):
        """Write the word that waits."""
        size = columns_of(self.word)
        if self.column and self.column + size > self._width():
            self._write("\n", 0)
        self._write(shown(self.word), self.column + size)
        self.word = ""
        sys.stdout.flush()

    def end(self):
        """End the line."""
        self.flush()
        if self.column:
            self._write("\n", 0)
        sys.stdout.flush()

    @staticmethod
    def _width():
        return terminal_width()

    def _write(self, text, column):
        sys.stdout.write(text)
        self.column = column


class Quiet:
    """While an answer comes: Ctrl-C stops it, a second one ends the process; what is typed waits, unseen."""

    def __init__(self):
        self.stopped = False

    def __enter__(self):
        self.before = signal.signal(signal.SIGINT, self._stop)
        self.terminal = None
        try:
            import termios

            self.terminal = termios.tcgetattr(0)
            silent = termios.tcgetattr(0)
            silent[3] &= ~termios.ECHO
            termios.tcsetattr(0, termios.TCSANOW, silent)
        except (ImportError, OSError, ValueError):
            pass
        except Exception:  # termios.error is no OSError
            self.terminal = None
        return self

    def __exit__(self, *error):
        signal.signal(signal.SIGINT, self.before)
        if self.terminal is not None:
            import termios

            termios.tcsetattr(0, termios.TCSANOW, self.terminal)

    def _stop(self, number, frame):
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True

    def look(self):
        """Raise if the answer is to stop."""
        if self.stopped:
            raise Stopped


def note(text):
    """Tell something that is not the model's."""
    if sys.stderr.isatty():
        import textwrap

        text = textwrap.fill(text, terminal_width(), subsequent_indent="  ", break_long_words=False)
    dim = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    sys.stderr.write(("\033[2m%s\033[0m\n" if dim else "%s\n") % text)
    sys.stderr.flush()


COMMANDS = {
    "/help": "this list",
    "/system": "[TEXT] show or set the system prompt",
    "/clear": "forget the conversation",
    "/save": "NAME write the conversation",
    "/load": "NAME go on with a conversation that was saved",
    "/regenerate": "answer the last question again",
    "/stats": "switch figures after each answer on or off",
    "/bye": "leave, as Ctrl-D does",
}
BLOCK = '"""'
TURN_TOKENS = 16  # that a template puts around a turn, about


class Chat:
    """A conversation at a terminal."""

    def __init__(self, session, stats=False):
        self.session, self.model, self.stats = session, session.model, stats
        self.system = session.contract.get("system", "")
        self.turns = []  # pairs of question and answer
        self.read_line = line_editor()

    def talk(self):
        """Talk until the input ends."""
        note("Ctrl-C stops an answer, Ctrl-D ends the conversation, /help lists commands.")
        if self.session.without_template:
            note("This model has no chat template: it continues the text as it is.")
        idle = False  # whether Ctrl-C came last
        while True:
            try:
                text = self._message()
            except EOFError:
                return
            except KeyboardInterrupt:
                if idle:
                    raise
                idle = True
                note("Ctrl-C once more, or Ctrl-D, ends the conversation.")
                continue
            idle = False
            try:
                text = re.sub(r"\A/(quit|exit)\s*\Z", "/bye", text)
                if text.split(" ")[0] in COMMANDS:
                    if not self._obey(*(text.split(None, 1) + [""])[:2]):
                        return
                elif re.match(r"/[A-Za-z]+(\s|$)", text):
                    note("There is no command %s; /help lists them." % text.split()[0])
                elif text.strip():
                    self.ask(text)
            except (ValueError, OSError) as error:  # of the template, of a file
                note("%s" % error)

    def _message(self):
        """Return what is said next: a line, what is pasted at once, or lines between triple quotes."""
        text = self.read_line(">>> ")
        if not text.startswith(BLOCK):
            return text
        while text.count(BLOCK) < 2:
            text += "\n" + self.read_line("... ")
        return text.replace(BLOCK, "").strip("\n")

    def _obey(self, command, rest):
        """Do what a command says; return whether to go on."""
        if command == "/bye":
            return False
        if command == "/help":
            for name, what in COMMANDS.items():
                note("  %-12s %s" % (name, what))
            note('  """          begins and ends a message of several lines')
        elif command == "/clear":
            self.turns = []
        elif command == "/stats":
            self.stats = not self.stats
            note("figures after each answer: %s" % ("on" if self.stats else "off"))
        elif command == "/system":
            if rest:
                self.system = rest
            note("system prompt: %s" % (self.system or "none"))
        elif command == "/regenerate":
            if not self.turns:
                note("There is no question yet.")
            else:
                # Chance begins elsewhere: where the temperature is above 0, the same question gets another answer.
                self.session.sampling["seed"] = struct.unpack("<I", os.urandom(4))[0]
                self.ask(self.turns.pop()[0])
        elif not rest:
            note("%s needs a name." % command)
        else:
            self._save(rest.strip()) if command == "/save" else self._load(rest.strip())
        return True

    def _save(self, name):
        path = saved_chat(name)
        there = os.path.exists(path)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"lftool-chat": 1, "system": self.system, "turns": self.turns}, file, ensure_ascii=False, indent=1)
            file.write("\n")
        note("saved in %s%s" % (path, ", in place of what was there" if there else ""))

    def _load(self, name):
        path = saved_chat(name)
        if not os.path.exists(path):
            folder = os.path.dirname(path) or "."
            there = sorted(os.listdir(folder)) if os.environ.get("LFTOOL_CHATS") and os.path.isdir(folder) else []
            raise ValueError("there is no conversation %s%s" % (name, "; saved: %s" % ", ".join(there) if there else ""))
        with open(path, encoding="utf-8") as file:
            try:
                found = json.load(file)
                system, turns = found["system"], [(str(asked), str(said)) for asked, said in found["turns"]]
            except (ValueError, KeyError, TypeError):
                raise ValueError("%s is no conversation that /save wrote" % path)
        self.system, self.turns = str(system), turns
        note("%d turns of %s" % (len(turns), path))

    def messages(self, question):
        """Return the conversation with its next question."""
        made = [{"role": "system", "content": self.system}] if self.system else []
        for asked, said in self.turns:
            made += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        return made + [{"role": "user", "content": question}]

    def _tokens(self, *texts):
        return sum(len(self.model.tokenize(text.encode("utf-8", "replace"), add_bos=False)) + TURN_TOKENS for text in texts)

    def _make_room(self, question):
        """Forget the oldest turns until question and answer fit into the context; return how many."""
        window = len(self.model.input_ids)
        left = window - min(self.session.most or window, window // 4) - self._tokens(self.system, question)
        sizes = [self._tokens(*turn) for turn in self.turns]
        forgotten = 0
        while self.turns and not self.session.alone and sum(sizes) > left:
            del self.turns[0], sizes[0]
            forgotten += 1
        return forgotten

    def ask(self, question):
        """Show the answer to a question as it comes, and keep both."""
        needed, context = self._tokens(self.system, question), len(self.model.input_ids)
        if needed >= context:
            own = self._tokens(self.system) if self.system else 0
            also = ", of them %d for the system prompt" % own if own else ""
            raise ValueError("the question has %d tokens%s, and the context %d" % (needed, also, context))
        kept = list(self.turns)
        self._tell_forgotten(self._make_room(question))
        while True:
            try:
                said, stopped = self._answered(question)
                break
            except ValueError as error:
                if not isinstance(error, TooLong) or not self.turns:
                    self.turns = kept  # nothing was answered, so nothing is forgotten
                    raise
                del self.turns[0]
                self._tell_forgotten(1)
        if stopped:
            note("(stopped)")
        elif self.session.finish == "length":
            note(self.session.cut())
        if said:
            self.turns.append((question, said))

    def _tell_forgotten(self, count):
        if count:
            turns = "the oldest turn is" if count == 1 else "the oldest %d turns are" % count
            note("(the context of %d tokens is full: %s forgotten)" % (len(self.model.input_ids), turns))

    def _answered(self, question):
        """Show an answer; return it, and whether it was stopped."""
        out, said, stopped = Wrapped(), [], False
        begun, first, before = time.monotonic(), None, 0
        with Quiet() as quiet:
            self.session.reading.look = quiet.look
            try:
                for piece in self.session.pieces(self.messages(question)):
                    if first is None:
                        first, before = time.monotonic(), self.model.n_tokens
                        self.session.reading.erase()
                    said.append(piece)
                    out.put(piece)
                    quiet.look()
            except Stopped:
                stopped = True
            finally:
                self.session.reading.erase()
        out.end()
        if self.stats and first is not None:
            count, seconds = self.model.n_tokens - before + 1, time.monotonic() - first
            rate = " (%.1f tokens/s)" % ((count - 1) / seconds) if count > 1 and seconds > 0 else ""
            note("%d tokens in %.1f s%s, first token after %.2f s" % (count, seconds, rate, first - begun))
        return "".join(said), stopped


def saved_chat(name):
    """Return the path of a conversation; `lftool run` confines this process, and names the folder that it may write to."""
    folder = os.environ.get("LFTOOL_CHATS")
    if not folder:
        return name
    if os.sep in name or name.startswith("."):
        raise ValueError("conversations are kept in %s: give a name, not a path" % folder)
    return os.path.join(folder, name)


def line_editor():
    """Return a function that reads a line or a paste: prompt_toolkit's where it is installed, else readline's."""
    history = os.environ.get("LFTOOL_HISTORY") or None
    if os.environ.get("TERM") != "dumb":
        try:
            return toolkit_editor(history)
        except ImportError:
            pass
    try:
        import readline

        if history and os.path.exists(history):
            readline.read_history_file(history)
        if history:
            import atexit

            atexit.register(readline.write_history_file, history)
    except (ImportError, OSError):
        pass
    return input


def toolkit_editor(history):
    """Return prompt_toolkit's editor: Enter sends, Alt-Enter begins a line, a paste of several lines is one message."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.shortcuts import CompleteStyle

    keys = KeyBindings()

    @keys.add("enter")
    def _(event):
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event):
        event.current_buffer.insert_text("\n")

    session = PromptSession(
        history=FileHistory(history) if history else InMemoryHistory(),
        completer=WordCompleter(sorted(COMMANDS), pattern=re.compile(r"^/[a-z]*")),
        complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE,
        reserve_space_for_menu=0,
        key_bindings=keys,
        multiline=True,
        prompt_continuation=lambda width, line, wrapped: " " * width if wrapped else "... ",
    )
    return session.prompt


def main(load=load_to_talk):
    """Parse arguments and run."""
    parser = argparse.ArgumentParser(
        prog=os.path.basename(bundle_name(sys.argv[1])), description="Run the model in this file.", allow_abbrev=False
    )
    bundle = Bundle(sys.argv[1])
    parser.add_argument("-p", "--prompt", help="answer this and exit; default: standard input, or a chat")
    parser.add_argument("--raw", action="store_true", help="complete the text as given, without the chat template")
    parser.add_argument("--stats", action="store_true", help="in a chat: figures after each answer")
    parser.add_argument("--verify", action="store_true", help="check every content against the manifest and exit")
    add_options(parser, bundle.contract)
    options = parser.parse_args(sys.argv[2:])
    apply_options(bundle, options)
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
    session = Session(bundle, options, load)
    if prompt is None and session.kind == "embeds":
        sys.exit("%s: this is an embedding model; give it a text with -p or on standard input" % bundle.name)
    if prompt is None:
        Chat(session, options.stats).talk()
    else:
        if session.without_template and not options.raw and session.kind == "generates":
            sys.stderr.write("%s: %s\n" % (bundle.name, NO_TEMPLATE))
        session.answer(prompt)


def run(load=load_to_talk):
    """Run, and say in one line what went wrong."""
    try:
        main(load)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception as error:  # of the engine: a model it does not know, a prompt too long, a faulty template
        if os.environ.get("LFTOOL_TRACEBACK"):
            raise
        message = str(error).replace(sys.argv[1], bundle_name(sys.argv[1]))
        sys.stderr.write("%s: %s\n" % (bundle_name(sys.argv[1]), message or type(error).__name__))
        sys.exit(1)


if __name__ == "__main__":
    run()
