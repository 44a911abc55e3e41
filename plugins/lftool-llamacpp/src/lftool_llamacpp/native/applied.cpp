#include "applied.h"

#include <algorithm>
#include <set>

#include "bundle.h"
#include "common.h"
#include "llama.h"
#include "server-common.h"
#include "server-schema.h"
#include "wrap.h"

bool real_is_eog(const llama_vocab * vocab, llama_token token) LFTOOL_THEIRS(llama_vocab_is_eog);
bool wrap_is_eog(const llama_vocab * vocab, llama_token token) LFTOOL_OURS(llama_vocab_is_eog);

int32_t real_piece(const llama_vocab * vocab, llama_token token, char * text, int32_t length, int32_t spaces, bool special)
    LFTOOL_THEIRS(llama_token_to_piece);
int32_t wrap_piece(const llama_vocab * vocab, llama_token token, char * text, int32_t length, int32_t spaces, bool special)
    LFTOOL_OURS(llama_token_to_piece);

task_params real_schema(const llama_vocab * vocab, const common_params & base, const std::vector<llama_logit_bias> & ends,
                        const json & data) LFTOOL_THEIRS(LFTOOL_SCHEMA);
task_params wrap_schema(const llama_vocab * vocab, const common_params & base, const std::vector<llama_logit_bias> & ends,
                        const json & data) LFTOOL_OURS(LFTOOL_SCHEMA);

namespace lftool {

namespace {

const std::set<std::string> APPLIED = {
    "cache_type", "context", "grammar", "json_schema", "max_tokens", "min_p", "reasoning", "repeat_penalty", "rope_freq_base",
    "rope_scale", "rope_scaling", "seed", "stop", "stop_tokens", "system", "temperature", "top_k", "top_p", "yarn_original_context",
};

std::vector<llama_token> ends;  // in order

bool ends_answers(llama_token token) {
    return std::binary_search(ends.begin(), ends.end(), token);
}

}  // namespace

void check_contract(const nlohmann::json & contract) {
    std::string beyond;
    for (const auto & said : contract.items()) {
        if (APPLIED.count(said.key()) == 0) {
            beyond += (beyond.empty() ? "" : ", ") + nlohmann::json(said.key()).dump();
        }
    }
    if (!beyond.empty()) {
        throw Problem(8, "its run contract says " + beyond + ", which this executable does not know");
    }
}

std::vector<std::string> context_arguments(const nlohmann::json & contract) {
    std::vector<std::string> words;
    const auto               add = [&](const char * key, const char * name) {
        if (contract.contains(key)) {
            const auto & value = contract.at(key);
            words.push_back(name);
            words.push_back(value.is_string() ? value.get<std::string>() : std::to_string(value.get<int64_t>()));
        }
    };
    add("cache_type", "--cache-type-k");
    add("cache_type", "--cache-type-v");
    add("rope_scaling", "--rope-scaling");
    add("rope_scale", "--rope-scale");
    add("rope_freq_base", "--rope-freq-base");
    add("yarn_original_context", "--yarn-orig-ctx");
    return words;
}

std::vector<std::string> grammar_arguments(const nlohmann::json & contract) {
    if (contract.contains("json_schema")) {
        return { "--json-schema", contract.at("json_schema").get<std::string>() };
    }
    if (contract.contains("grammar")) {
        return { "--grammar", contract.at("grammar").get<std::string>() };
    }
    return {};
}

void end_at(const llama_model * model, const nlohmann::json & contract) {
    const llama_vocab * vocab  = llama_model_get_vocab(model);
    auto                wanted = contract.value("stop_tokens", std::vector<std::string>());
    if (wanted.empty()) {
        return;
    }
    for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); token++) {
        const auto found = std::find(wanted.begin(), wanted.end(), llama_vocab_get_text(vocab, token));
        if (found != wanted.end()) {
            ends.push_back(token);
            wanted.erase(found);
        }
    }
    if (!wanted.empty()) {
        throw Problem(4, "its vocabulary has no token " + nlohmann::json(wanted.front()).dump() + " ([run] stop_tokens)");
    }
}

}  // namespace lftool

bool wrap_is_eog(const llama_vocab * vocab, llama_token token) {
    return lftool::ends_answers(token) || real_is_eog(vocab, token);
}

// The server tells the text of a token that ends an answer; the model's own have none, unless special tokens are shown.
int32_t wrap_piece(const llama_vocab * vocab, llama_token token, char * text, int32_t length, int32_t spaces, bool special) {
    return !special && lftool::ends_answers(token) ? 0 : real_piece(vocab, token, text, length, spaces, special);
}

// A text that is completed is held to the contract's grammar too, unless the request brings one; chats are in chat_params.cpp.
task_params wrap_schema(const llama_vocab * vocab, const common_params & base, const std::vector<llama_logit_bias> & ends,
                        const json & data) {
    const auto & contract = lftool::own().contract;
    const bool   free     = data.contains("chat_format") || data.contains("grammar") || data.contains("json_schema");
    if (free || (!contract.contains("grammar") && !contract.contains("json_schema"))) {
        return real_schema(vocab, base, ends, data);
    }
    json held = data;
    if (contract.contains("json_schema")) {
        held["json_schema"] = json::parse(contract.at("json_schema").get<std::string>());
    } else {
        held["grammar"] = contract.at("grammar").get<std::string>();
    }
    return real_schema(vocab, base, ends, held);
}
