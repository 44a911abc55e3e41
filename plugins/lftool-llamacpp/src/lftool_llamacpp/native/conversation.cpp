#include "conversation.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <random>

#include <unistd.h>

#include "applied.h"
#include "arg.h"
#include "log.h"
#include "sampling.h"

namespace lftool {

namespace {

volatile sig_atomic_t interrupts = 0;

void count_interrupt(int number) {
    if (interrupts > 0) {
        signal(number, SIG_DFL);
        raise(number);
    }
    interrupts = 1;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

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

common_params parse(const Bundle & bundle, const Options & options) {
    std::vector<std::string> words = model_arguments(bundle, options);
    words.insert(words.begin(), "llama-completion");
    words.push_back("-c");
    words.push_back(std::to_string(bundle.contract.value("context", int64_t(0))));
    const auto held = grammar_arguments(bundle.contract);
    words.insert(words.end(), held.begin(), held.end());
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

}  // namespace

bool interrupted() {
    return interrupts > 0;
}

void heed_interrupts() {
    interrupts = 0;
    struct sigaction action = {};
    action.sa_handler = count_interrupt;  // without SA_RESTART: what waits for a line comes back
    sigaction(SIGINT, &action, nullptr);
}

Conversation::Conversation(const Bundle & bundle, const Options & options, const Kind & kind)
    : params_(parse(bundle, options)), loaded_(common_init_from_params(params_)), named_(kind.chat == Chat::NAME), think_(options.think) {
    if (loaded_->model() == nullptr) {
        throw Problem(1, "llama.cpp cannot load the model");
    }
    const auto & contract = bundle.contract;
    if (loaded_->context() == nullptr) {
        const bool adapted = bundle.find("adapter") != nullptr;
        const int  tokens  = contract.value("context", 0);
        const std::string asked = tokens > 0 ? std::to_string(tokens) + " tokens ([run] context)"
                                             : std::string("as many tokens as the model was trained with");
        throw Problem(1, adapted ? "llama.cpp does not take the LoRA adapter: it is for another model"
                                 : "llama.cpp cannot make a context of " + asked + "; is there enough memory?");
    }
    without_template_ = llama_model_chat_template(loaded_->model(), nullptr) == nullptr;
    raw_              = options.raw || without_template_;
    alone_            = options.raw;
    most_             = contract.value("max_tokens", 0);
    stops_            = contract.value("stop", std::vector<std::string>());
    if (!raw_) {
        try {
            templates_ = common_chat_templates_init(loaded_->model(), "");
        } catch (const std::exception &) {
            throw Problem(1, "the model's chat template cannot be read; --raw completes without it");
        }
    }
    system = contract.value("system", std::string());
}

size_t Conversation::room() const {
    return llama_n_ctx(loaded_->context());
}

void Conversation::draw_again() {
    params_.sampling.seed = std::random_device()();
}

// Returns the conversation with its next question, as the model reads it.
std::vector<llama_token> Conversation::rendered(const std::string & question, std::vector<std::string> & stops) {
    stops            = stops_;
    std::string text = question;
    if (raw_ && !alone_) {  // as serve.cpp's AS_GIVEN
        std::string before = system.empty() ? "" : system + "\n";
        for (const auto & [asked, said] : turns) {
            before += asked + "\n" + said + "\n";
        }
        text = before + question;
    }
    if (!raw_) {
        common_chat_templates_inputs inputs;
        const auto add = [&](const char * role, const std::string & content) {
            common_chat_msg message;
            message.role    = role;
            message.content = content;
            inputs.messages.push_back(message);
        };
        if (!system.empty()) {
            add("system", system);
        }
        for (const auto & [asked, said] : turns) {
            add("user", asked);
            add("assistant", said);
        }
        add("user", question);
        inputs.use_jinja = !named_;
        if (think_ >= 0) {
            inputs.enable_thinking = think_ != 0;
        }
        const auto made = common_chat_templates_apply(templates_.get(), inputs);
        text            = made.prompt;
        stops.insert(stops.end(), made.additional_stops.begin(), made.additional_stops.end());
    }
    stops.erase(std::remove(stops.begin(), stops.end(), ""), stops.end());
    return common_tokenize(loaded_->context(), text, true, true);
}

Answer Conversation::answer(const std::string & question, const std::function<void(size_t)> & forgot) {
    Answer                   made;
    std::vector<std::string> stops;
    const size_t             quarter = room() / 4;
    const size_t             kept    = most_ > 0 ? std::min(quarter, static_cast<size_t>(most_)) : quarter;
    std::vector<llama_token> tokens  = rendered(question, stops);
    if (tokens.empty()) {
        throw Problem(1, "the prompt is empty");
    }
    while (tokens.size() + kept > room() && !turns.empty() && !alone_) {
        turns.erase(turns.begin());
        made.forgotten++;
        tokens = rendered(question, stops);
    }
    if (made.forgotten > 0) {
        forgot(made.forgotten);
    }
    if (tokens.size() >= room()) {
        made.end    = End::NO_ROOM;
        made.tokens = tokens.size();
        return made;
    }
    const auto begin = std::chrono::steady_clock::now();
    made.end         = decode(tokens) ? End::WHOLE : End::STOPPED;
    made.first       = seconds_since(begin);
    if (made.end == End::WHOLE) {
        generate(stops, made);
    }
    if (!made.text.empty()) {
        turns.emplace_back(question, made.text);
    }
    return made;
}

// Brings the context to `tokens`, keeping what it has in common with what it has seen; false when it was interrupted.
bool Conversation::decode(const std::vector<llama_token> & tokens) {
    llama_context * context = loaded_->context();
    size_t          same    = 0;
    while (same < seen_.size() && same + 1 < tokens.size() && seen_[same] == tokens[same]) {
        same++;
    }
    if (!llama_memory_seq_rm(llama_get_memory(context), 0, static_cast<llama_pos>(same), -1)) {
        llama_memory_clear(llama_get_memory(context), true);  // recurrent models forget only as a whole
        same = 0;
    }
    seen_.assign(tokens.begin(), tokens.begin() + static_cast<long>(same));
    const size_t batch = llama_n_batch(context);
    const bool   shown = tokens.size() - same > batch && isatty(STDERR_FILENO);
    while (same < tokens.size() && !interrupted()) {
        if (shown) {
            fprintf(stderr, "\rreading the prompt: %zu %%", 100 * same / tokens.size());
        }
        const size_t count = std::min(batch, tokens.size() - same);
        seen_.insert(seen_.end(), tokens.begin() + static_cast<long>(same), tokens.begin() + static_cast<long>(same + count));
        step(&seen_[same], static_cast<int32_t>(count));
        same += count;
    }
    if (shown) {
        fprintf(stderr, "\r%*s\r", 28, "");
    }
    return same == tokens.size();
}

void Conversation::step(llama_token * tokens, int32_t count) {
    if (llama_decode(loaded_->context(), llama_batch_get_one(tokens, count)) != 0) {
        throw Problem(1, "llama.cpp cannot evaluate the text");
    }
}

void Conversation::generate(const std::vector<std::string> & stops, Answer & answer) {
    llama_context *     context = loaded_->context();
    const llama_vocab * vocab   = llama_model_get_vocab(loaded_->model());
    common_sampler_ptr  sampler(common_sampler_init(loaded_->model(), params_.sampling));
    for (const llama_token token : seen_) {
        common_sampler_accept(sampler.get(), token, false);  // a penalty on repeated tokens counts these, as in the server
    }
    std::string held;
    const auto  say = [&](const std::string & piece) {
        answer.text += piece;
        screen_.put(piece);
    };
    const auto begin = std::chrono::steady_clock::now();
    while (true) {
        if (interrupted()) {
            answer.end = End::STOPPED;
            break;
        }
        if (seen_.size() >= room()) {
            answer.end = End::CONTEXT_FULL;
            break;
        }
        if (most_ > 0 && answer.tokens >= static_cast<size_t>(most_)) {
            answer.end = End::MOST_TOKENS;
            break;
        }
        llama_token token = common_sampler_sample(sampler.get(), context, -1);
        common_sampler_accept(sampler.get(), token, true);
        if (llama_vocab_is_eog(vocab, token)) {
            break;
        }
        answer.tokens++;
        held += common_token_to_piece(context, token, false);
        if (answer.text.empty() && !raw_) {
            held.erase(0, held.find_first_not_of(" \t\r\n"));  // a template ends before the space that begins an answer
        }
        size_t end = std::string::npos;
        for (const std::string & stop : stops) {
            end = std::min(end, held.find(stop));
        }
        if (end != std::string::npos) {
            held.resize(end);
            break;
        }
        const size_t ready = held.size() - unfinished(held, stops);
        say(held.substr(0, ready));
        held.erase(0, ready);
        seen_.push_back(token);
        if (seen_.size() < room()) {
            step(&token, 1);
        }
    }
    say(held);
    screen_.end();
    answer.seconds = seconds_since(begin);
}

}  // namespace lftool
