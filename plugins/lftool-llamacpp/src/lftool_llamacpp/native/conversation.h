// The model of a bundle, loaded to answer: one prompt, or a conversation.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "chat.h"
#include "common.h"
#include "kind.h"
#include "llama.h"
#include "options.h"
#include "screen.h"

namespace lftool {

// How an answer ended.
enum class End { WHOLE, STOPPED, MOST_TOKENS, CONTEXT_FULL, NO_ROOM };

struct Answer {
    End         end = End::WHOLE;
    std::string text;
    size_t      forgotten = 0;  // turns that had to go for it
    size_t      tokens    = 0;  // of the answer; of the question where there was no room
    double      first     = 0;  // seconds to its first token
    double      seconds   = 0;  // from the first to the last
};

class Conversation {
  public:
    Conversation(const Bundle & bundle, const Options & options, const Kind & kind);

    // Shows the answer as it comes, and keeps it with its question unless nothing was said. Forgets the oldest turns where
    // question and answer would not fit into the context.
    Answer answer(const std::string & question, const std::function<void(size_t)> & forgot);

    // From now on chance begins elsewhere: where the temperature is above 0, the same question gets another answer.
    void draw_again();

    // Tokens of context.
    size_t room() const;

    // Whether the model has no chat template: it completes what it is given.
    bool without_template() const { return without_template_; }

    int most_tokens() const { return most_; }

    std::string                                      system;
    std::vector<std::pair<std::string, std::string>> turns;  // question and answer

  private:
    std::vector<llama_token> rendered(const std::string & question, std::vector<std::string> & stops);
    bool                     decode(const std::vector<llama_token> & tokens);
    void                     step(llama_token * tokens, int32_t count);
    void                     generate(const std::vector<std::string> & stops, Answer & answer);

    common_params             params_;
    common_init_result_ptr    loaded_;
    bool                      named_;
    bool                      without_template_ = false;
    common_chat_templates_ptr templates_;
    std::vector<llama_token>  seen_;
    std::vector<std::string>  stops_;
    int                       most_ = 0;
    bool                      raw_  = false;
    bool                      alone_ = false;  // whether each question stands for itself
    int                       think_ = -1;
    Screen                    screen_;
};

// Whether Ctrl-C was pressed since `heed_interrupts`; the second time ends the process.
bool interrupted();
void heed_interrupts();

}  // namespace lftool
