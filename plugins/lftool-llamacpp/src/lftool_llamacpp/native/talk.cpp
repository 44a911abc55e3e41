// One prompt or a conversation in the terminal, as the run contract asks for.
#include "kind.h"
#include "options.h"

#include <algorithm>
#include <cstring>
#include <iostream>
#include <iterator>

#include <unistd.h>

#include "arg.h"
#include "chat.h"
#include "llama.h"
#include "log.h"
#include "sampling.h"

namespace lftool {

namespace {

// Text of a model as a terminal may have it: control characters but tab and line break, and what turns the direction of text,
// are spelt out. Pieces may end within a letter; the runner's `shown` says the same in Python.
class Shown {
  public:
    std::string next(const std::string & piece) {
        if (!terminal_) {
            return piece;
        }
        held_ += piece;
        std::string made;
        size_t      at = 0;
        while (at < held_.size()) {
            const unsigned char first = static_cast<unsigned char>(held_[at]);
            const size_t        size  = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
            if (at + size > held_.size()) {
                break;
            }
            made += spelt(held_.substr(at, size));
            at += size;
        }
        held_.erase(0, at);
        return made;
    }

    std::string rest() {
        const std::string left = held_;
        held_.clear();
        return left;
    }

  private:
    static std::string spelt(const std::string & letter) {
        unsigned code = static_cast<unsigned char>(letter[0]);
        if (letter.size() > 1) {
            code &= 0xFFu >> (letter.size() + 1);
            for (size_t i = 1; i < letter.size(); i++) {
                code = code << 6 | (static_cast<unsigned char>(letter[i]) & 0x3F);
            }
        } else if (code >= 0x80) {
            return letter;  // no letter of UTF-8
        }
        const bool control = (code < 32 && code != '\t' && code != '\n') || (code >= 127 && code < 160);
        const bool turning = code == 0x61C || code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
        if (!control && !turning) {
            return letter;
        }
        char text[8];
        snprintf(text, sizeof text, code < 256 ? "\\x%02x" : "\\u%04x", code);
        return text;
    }

    const bool  terminal_ = isatty(STDOUT_FILENO) != 0;
    std::string held_;
};

constexpr size_t MOST_PROMPT = 16 << 20;  // more than the longest contexts hold

// Returns how many bytes at the end of `text` may be the beginning of one of `stops`, or of a character.
size_t unfinished(const std::string & text, const std::vector<std::string> & stops) {
    size_t held = 0;
    for (const std::string & stop : stops) {
        for (size_t length = std::min(stop.size() - 1, text.size()); length > held; length--) {
            if (text.compare(text.size() - length, length, stop, 0, length) == 0) {
                held = length;
            }
        }
    }
    for (size_t length = 1; length <= std::min<size_t>(3, text.size()); length++) {
        const unsigned char byte = static_cast<unsigned char>(text[text.size() - length]);
        if ((byte & 0xC0) != 0x80) {
            const size_t whole = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
            return std::max(held, whole > length ? length : size_t(0));
        }
    }
    return held;
}

class Conversation {
  public:
    Conversation(const Bundle & bundle, const Options & options, const Kind & kind)
        : params_(parse(bundle, options)), loaded_(common_init_from_params(params_)), named_(kind.chat == Chat::NAME) {
        if (loaded_->model() == nullptr) {
            throw Problem(1, "llama.cpp cannot load the model");
        }
        if (loaded_->context() == nullptr) {
            const bool adapted = bundle.find("adapter") != nullptr;
            const int  tokens  = bundle.contract.value("context", 0);
            const std::string asked = tokens > 0 ? std::to_string(tokens) + " tokens ([run] context)"
                                                 : std::string("as many tokens as the model was trained with");
            throw Problem(1, adapted ? "llama.cpp does not take the LoRA adapter: it is for another model"
                                     : "llama.cpp cannot make a context of " + asked + "; is there enough memory?");
        }
        const auto & contract = bundle.contract;
        raw_       = options.raw || llama_model_chat_template(loaded_->model(), nullptr) == nullptr;
        most_      = options.max_tokens > 0 ? options.max_tokens : contract.value("max_tokens", 0);
        stops_     = contract.value("stop", std::vector<std::string>());
        if (!raw_) {
            try {
                templates_ = common_chat_templates_init(loaded_->model(), "");
            } catch (const std::exception &) {
                throw Problem(1, "the model's chat template cannot be read; --raw completes without it");
            }
        }
        if (contract.contains("system")) {
            system_.role    = "system";
            system_.content = contract.at("system").get<std::string>();
        }
        restart();
    }

    void restart() {
        messages_.clear();
        if (!system_.content.empty()) {
            messages_.push_back(system_);
        }
    }

    // Whether nothing has been said that the next answer would have to remember.
    bool fresh() const { return raw_ || messages_.size() == (system_.content.empty() ? 0 : 1); }

    // Writes the answer to standard output as it comes; false when the conversation has outgrown the context.
    bool answer(const std::string & prompt) {
        std::string              text = prompt;
        std::vector<std::string> stops = stops_;
        if (!raw_) {
            common_chat_msg message;
            message.role    = "user";
            message.content = prompt;
            messages_.push_back(message);
            common_chat_templates_inputs inputs;
            inputs.messages  = messages_;
            inputs.use_jinja = !named_;
            const auto rendered = common_chat_templates_apply(templates_.get(), inputs);
            text = rendered.prompt;
            stops.insert(stops.end(), rendered.additional_stops.begin(), rendered.additional_stops.end());
        }
        stops.erase(std::remove(stops.begin(), stops.end(), ""), stops.end());
        std::vector<llama_token> tokens = common_tokenize(loaded_->context(), text, true, true);
        const size_t             room   = llama_n_ctx(loaded_->context());
        if (tokens.empty()) {
            throw Problem(1, "the prompt is empty");
        }
        if (tokens.size() >= room) {
            return false;
        }
        decode(tokens);
        common_chat_msg said;
        said.role    = "assistant";
        said.content = generate(room, stops);
        messages_.push_back(said);
        return true;
    }

  private:
    static common_params parse(const Bundle & bundle, const Options & options) {
        std::vector<std::string> words = model_arguments(bundle, options);
        words.insert(words.begin(), "llama-completion");
        words.push_back("-c");
        words.push_back(std::to_string(bundle.contract.value("context", int64_t(0))));
        words.push_back("--no-warmup");  // it would only put the first token off
        std::vector<char *> argv;
        for (std::string & word : words) {
            argv.push_back(&word[0]);
        }
        common_params params;
        if (!common_params_parse(static_cast<int>(argv.size()), argv.data(), params, LLAMA_EXAMPLE_COMPLETION)) {
            throw Problem(2, "llama.cpp does not take these options");
        }
        common_log_set_verbosity_thold(LOG_LEVEL_ERROR);
        return params;
    }

    // Brings the context to `tokens`, keeping what it has in common with the last conversation.
    void decode(const std::vector<llama_token> & tokens) {
        llama_context * context = loaded_->context();
        size_t same = 0;
        while (same < seen_.size() && same + 1 < tokens.size() && seen_[same] == tokens[same]) {
            same++;
        }
        if (!llama_memory_seq_rm(llama_get_memory(context), 0, static_cast<llama_pos>(same), -1)) {
            llama_memory_clear(llama_get_memory(context), true);  // recurrent models forget only as a whole
            same = 0;
        }
        seen_ = tokens;
        const size_t batch = llama_n_batch(context);
        while (same < seen_.size()) {
            const size_t count = std::min(batch, seen_.size() - same);
            step(&seen_[same], static_cast<int32_t>(count));
            same += count;
        }
    }

    void step(llama_token * tokens, int32_t count) {
        if (llama_decode(loaded_->context(), llama_batch_get_one(tokens, count)) != 0) {
            throw Problem(1, "llama.cpp cannot evaluate the text");
        }
    }

    std::string generate(size_t room, const std::vector<std::string> & stops) {
        llama_context *     context = loaded_->context();
        const llama_vocab * vocab   = llama_model_get_vocab(loaded_->model());
        common_sampler_ptr  sampler(common_sampler_init(loaded_->model(), params_.sampling));
        for (const llama_token token : seen_) {
            common_sampler_accept(sampler.get(), token, false);  // a penalty on repeated tokens counts these, as in the server
        }
        std::string         said, held;
        const auto say = [&](const std::string & piece) {
            said += piece;
            if (!(std::cout << shown_.next(piece) << std::flush)) {
                throw Problem(1, "standard output cannot be written");
            }
        };
        bool                cut = true;
        for (int count = 0; (most_ == 0 || count < most_) && seen_.size() < room; count++) {
            llama_token token = common_sampler_sample(sampler.get(), context, -1);
            common_sampler_accept(sampler.get(), token, true);
            if (llama_vocab_is_eog(vocab, token)) {
                cut = false;
                break;
            }
            held += common_token_to_piece(context, token, false);
            if (said.empty() && !raw_) {
                held.erase(0, held.find_first_not_of(" \t\r\n"));  // a template ends before the space that begins an answer
            }
            size_t end = std::string::npos;
            for (const std::string & stop : stops) {
                end = std::min(end, held.find(stop));
            }
            if (end != std::string::npos) {
                held.resize(end);
                cut = false;
                break;
            }
            const size_t ready = held.size() - unfinished(held, stops);
            say(held.substr(0, ready));
            held.erase(0, ready);
            seen_.push_back(token);
            if (seen_.size() < room) {
                step(&token, 1);
            }
        }
        say(held);
        std::cout << shown_.rest() << std::endl;
        if (cut && seen_.size() >= room) {
            std::cerr << "the answer ends here: the context of " << room << " tokens is full" << std::endl;
        }
        return said;
    }

    common_params             params_;
    Shown                     shown_;
    common_init_result_ptr    loaded_;
    bool                      named_;
    common_chat_templates_ptr templates_;
    common_chat_msg           system_;
    std::vector<common_chat_msg> messages_;
    std::vector<llama_token>  seen_;
    std::vector<std::string>  stops_;
    int                       most_ = 0;
    bool                      raw_  = false;
};

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

int chat(Conversation & conversation) {
    std::cerr << "Ctrl-D ends the conversation." << std::endl;
    std::string line;
    while (std::cout << "> " << std::flush && std::getline(std::cin, line)) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) {
            continue;
        }
        const bool fresh    = conversation.fresh();
        bool       answered = conversation.answer(line);
        if (!answered && !fresh) {
            std::cerr << "the conversation is longer than the context; starting a new one" << std::endl;
            conversation.restart();
            answered = conversation.answer(line);
        }
        if (!answered) {
            std::cerr << "this is longer than the context" << std::endl;
            conversation.restart();
        }
    }
    std::cout << std::endl;
    return 0;
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
        return chat(conversation);
    }
    if (!conversation.answer(prompt)) {
        throw Problem(1, "the prompt is longer than the context");
    }
    return 0;
}

}  // namespace lftool
