// What the model of a bundle does: generate text, make vectors of texts, or rank documents.
#pragma once

#include <cstdint>

#include "bundle.h"

namespace lftool {

enum class Does { GENERATES, EMBEDS, RANKS };

// How the model's chat template is given: not at all, as the name of one of llama.cpp's, or as a text.
enum class Chat { NONE, NAME, TEXT };

// What is said once where there is none.
extern const char * const NO_TEMPLATE;

struct Kind {
    Does    does    = Does::GENERATES;
    bool    pooled  = false;  // whether the model says how the vectors of its tokens become one
    Chat    chat    = Chat::TEXT;
    int64_t context = 0;      // tokens that it was trained with; 0 where it does not say
};

// Reads the header of the weights. The rule is that of lftool/formats/model_kind.py.
Kind kind_of(const Bundle & bundle);

// Returns how many tokens a text may have that becomes a vector: it must fit into one batch, for its tokens look at one another.
int64_t most_tokens(const Bundle & bundle, const Kind & kind);

}  // namespace lftool
