// One prompt or a conversation in the terminal, as the run contract asks for.
#include "chatting.h"

#include <iostream>
#include <iterator>

#include <unistd.h>

#include "arg.h"
#include "log.h"

namespace lftool {

namespace {

constexpr size_t MOST_PROMPT = 16 << 20;  // more than the longest contexts hold

// An encoder has no cache, and llama.cpp a function of its own for it.
int evaluate(llama_context * context, const llama_batch & batch) {
    const llama_model * model = llama_get_model(context);
    return llama_model_has_encoder(model) && !llama_model_has_decoder(model) ? llama_encode(context, batch) : llama_decode(context, batch);
}

// Writes the vector of a text, of length 1, as JSON.
void print_vector(const Bundle & bundle, const Options & options, const Kind & kind, const std::string & text) {
    std::vector<std::string> words = model_arguments(bundle, options);
    words.insert(words.begin(), "llama-embedding");
    for (const char * name : { "-c", "-b", "-ub" }) {
        words.push_back(name);
        words.push_back(std::to_string(most_tokens(bundle, kind)));
    }
    words.push_back("--no-warmup");
    if (!kind.pooled) {
        words.push_back("--pooling");
        words.push_back("mean");
    }
    std::vector<char *> argv;
    for (std::string & word : words) {
        argv.push_back(&word[0]);
    }
    common_params params;
    if (!common_params_parse(static_cast<int>(argv.size()), argv.data(), params, LLAMA_EXAMPLE_EMBEDDING)) {
        throw Problem(2, "llama.cpp does not take these options");
    }
    params.embedding = true;
    common_log_set_verbosity_thold(LOG_LEVEL_ERROR);
    common_init_result_ptr loaded(common_init_from_params(params));
    if (loaded->model() == nullptr || loaded->context() == nullptr) {
        throw Problem(1, "llama.cpp cannot load the model");
    }
    llama_context *                context = loaded->context();
    const std::vector<llama_token> tokens  = common_tokenize(context, text, true, true);
    if (tokens.size() > llama_n_batch(context)) {
        throw Problem(1, "the text has " + std::to_string(tokens.size()) + " tokens, and the context is of " + std::to_string(llama_n_batch(context)));
    }
    llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
    for (size_t at = 0; at < tokens.size(); at++) {
        batch.token[at]     = tokens[at];
        batch.pos[at]       = static_cast<llama_pos>(at);
        batch.n_seq_id[at]  = 1;
        batch.seq_id[at][0] = 0;
        batch.logits[at]    = 1;
    }
    batch.n_tokens = static_cast<int32_t>(tokens.size());
    const int     failed = evaluate(context, batch);
    const float * found  = failed ? nullptr : llama_get_embeddings_seq(context, 0);
    llama_batch_free(batch);
    if (found == nullptr) {
        throw Problem(1, "llama.cpp cannot evaluate the text");
    }
    const int          count = llama_model_n_embd_out(loaded->model());
    std::vector<float> vector(count);
    common_embd_normalize(found, vector.data(), count, 2);
    std::cout << nlohmann::json(vector).dump() << std::endl;
}

// Returns what was written to standard input, without the end of its last line.
std::string read_all(std::istream & input) {
    std::string text(MOST_PROMPT + 1, '\0');
    input.read(&text[0], static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(input.gcount()));
    if (text.size() > MOST_PROMPT) {
        throw Problem(1, "the prompt is longer than " + std::to_string(MOST_PROMPT >> 20) + " MiB");
    }
    for (const char end : { '\n', '\r' }) {
        if (!text.empty() && text.back() == end) {
            text.pop_back();
        }
    }
    return text;
}

}  // namespace

int talk(const Bundle & bundle, const Options & options) {
    std::string prompt = options.prompt;
    const bool  asked  = options.has_prompt || !isatty(STDIN_FILENO);
    if (!options.has_prompt && asked) {
        prompt = read_all(std::cin);
        if (prompt.find_first_not_of(" \t\r\n") == std::string::npos) {
            throw Problem(1, "no prompt: give -p, or write one to standard input");
        }
    }
    common_init();
    common_log_set_verbosity_thold(LOG_LEVEL_ERROR);
    llama_backend_init();
    const Kind kind = kind_of(bundle);
    if (kind.does == Does::RANKS) {
        throw Problem(2, "this model ranks documents; serve it: --server, and ask /v1/rerank");
    }
    if (kind.does == Does::EMBEDS) {
        if (!asked) {
            throw Problem(2, "this model makes vectors and does not talk: give -p, or write a text to standard input");
        }
        print_vector(bundle, options, kind, prompt);
        return 0;
    }
    Conversation conversation(bundle, options, kind);
    if (!asked) {
        return chat(conversation, options.stats);
    }
    if (conversation.without_template() && !options.raw) {
        fprintf(stderr, "%s: %s\n", bundle.name.c_str(), NO_TEMPLATE);
    }
    switch (conversation.answer(prompt, [](size_t) {}).end) {
        case End::NO_ROOM: throw Problem(1, "the prompt is longer than the context");
        case End::CONTEXT_FULL: std::cerr << "the answer ends here: the context of " << conversation.room() << " tokens is full" << std::endl; break;
        default: break;
    }
    return 0;
}

}  // namespace lftool
