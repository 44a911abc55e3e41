#include "kind.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>

#include "gguf.h"
#include "llama.h"

namespace lftool {

const char * const NO_TEMPLATE = "this model has no chat template: it continues the text as it is";

namespace {

// Architectures of llama.cpp that make vectors and no text (src/llama-arch.cpp).
const char * const ENCODERS[] = { "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2",
                                  "jina-bert-v3", "eurobert", "gemma-embedding", "t5encoder" };
const int64_t      MOST       = 2048;  // of a text, where the contract names no context; the runner has the same

int64_t number(const gguf_context * header, const std::string & key, int64_t otherwise) {
    const int64_t at = gguf_find_key(header, key.c_str());
    return at >= 0 && gguf_get_kv_type(header, at) == GGUF_TYPE_UINT32 ? gguf_get_val_u32(header, at) : otherwise;
}

// Returns whether there is a head that gives scores: what the scripts make of models for classification.
bool has_head(const gguf_context * header) {
    for (int64_t at = 0; at < gguf_get_n_tensors(header); at++) {
        if (strncmp(gguf_get_tensor_name(header, at), "cls.", 4) == 0) {
            return true;
        }
    }
    return false;
}

}  // namespace

Kind kind_of(const Bundle & bundle) {
    const File file = bundle.open(bundle.content("weights"));
    const std::unique_ptr<gguf_context, decltype(&gguf_free)> header(gguf_init_from_file_ptr(file.get(), { true, nullptr }), gguf_free);
    Kind kind;
    const int64_t at = header ? gguf_find_key(header.get(), "general.architecture") : -1;
    if (at < 0 || gguf_get_kv_type(header.get(), at) != GGUF_TYPE_STRING) {
        return kind;  // loading it says what is wrong
    }
    const std::string architecture = gguf_get_val_str(header.get(), at);
    const auto        is_it        = [&](const char * name) { return architecture == name; };
    const int64_t     pooling      = number(header.get(), architecture + ".pooling_type", -1);
    kind.context = number(header.get(), architecture + ".context_length", 0);
    kind.pooled  = pooling > 0;
    const int64_t chat = gguf_find_key(header.get(), "tokenizer.chat_template");
    if (chat < 0) {
        kind.chat = Chat::NONE;
    } else if (gguf_get_kv_type(header.get(), chat) == GGUF_TYPE_STRING) {
        kind.chat = strchr(gguf_get_val_str(header.get(), chat), '{') == nullptr ? Chat::NAME : Chat::TEXT;
    }
    const bool encoder = std::any_of(std::begin(ENCODERS), std::end(ENCODERS), is_it);
    if (pooling == LLAMA_POOLING_TYPE_RANK || (encoder && has_head(header.get()))) {
        kind.does = Does::RANKS;
    } else if (kind.pooled || encoder) {
        kind.does = Does::EMBEDS;
    }
    return kind;
}

int64_t most_tokens(const Bundle & bundle, const Kind & kind) {
    const int64_t context = bundle.contract.value("context", int64_t(0));
    return context > 0 ? context : kind.context > 0 ? std::min(kind.context, MOST) : MOST;
}

}  // namespace lftool
