// A budget for chat templates: they come with the model, and a loop in one must not keep the server, or take its memory.
//
// llama.cpp gives templates no bounds of their own, but nothing in one goes on without memory: each step makes values. So the
// linker puts functions of ours in place of those that render, and of operator new (-Wl,--wrap). While a thread renders, each
// piece of memory is counted: against a deadline, against a sum, and against the stack, which a macro fills that calls itself.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "chat.h"
#include "llama.h"

namespace {

const size_t MOST_BYTES   = size_t(1) << 20;  // of a template; lftool_llamacpp has the same bound for Python
const int    MOST_SECONDS = 5;                // likewise
const size_t MOST_MEMORY  = size_t(4) << 30;  // taken in all, also what has been given back
const size_t MOST_STACK   = size_t(3) << 20;  // threads have 8 MiB
const int    STEPS_A_LOOK = 16;

struct Budget {
    const char *                          stack;
    std::chrono::steady_clock::time_point until = std::chrono::steady_clock::now() + std::chrono::seconds(MOST_SECONDS);
    size_t                                left  = MOST_MEMORY;
    int                                   steps = 0;
};

thread_local Budget * budget = nullptr;

// Bounds what the calling thread renders while this lives.
class Rendering {
  public:
    Rendering() : outer_(budget) {
        own_.stack = static_cast<const char *>(__builtin_frame_address(0));
        budget     = outer_ ? outer_ : &own_;
    }
    ~Rendering() { budget = outer_; }
    Rendering(const Rendering &)             = delete;
    Rendering & operator=(const Rendering &) = delete;

  private:
    Budget   own_;
    Budget * outer_;
};

// Throws. What handles the error takes memory too, so the budget is off while it is made, and a little of it comes back.
[[noreturn]] void refuse(const std::string & most) {
    Budget * spent = budget;
    budget         = nullptr;
    std::runtime_error error("the chat template " + most);
    spent->until = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    spent->left  = size_t(64) << 20;
    budget       = spent;
    throw error;
}

void count(size_t size) {
    const char * here  = static_cast<const char *>(__builtin_frame_address(0));
    const size_t depth = static_cast<size_t>(here < budget->stack ? budget->stack - here : here - budget->stack);
    if (depth > MOST_STACK) {
        Budget * spent = budget;
        budget         = nullptr;
        std::runtime_error error("the chat template calls itself too deeply");
        budget = spent;
        throw error;
    }
    if (size > budget->left) {
        refuse("takes too much memory");
    }
    budget->left -= size;
    if (++budget->steps % STEPS_A_LOOK == 0 && std::chrono::steady_clock::now() > budget->until) {
        refuse("takes longer than " + std::to_string(MOST_SECONDS) + " s");
    }
}

void check_size(const llama_model * model) {
    for (const char * name : { static_cast<const char *>(nullptr), "tool_use" }) {
        const char * text = model ? llama_model_chat_template(model, name) : nullptr;
        if (text && strlen(text) > MOST_BYTES) {
            throw std::runtime_error("the chat template has more than " + std::to_string(MOST_BYTES) + " bytes");
        }
    }
}

}  // namespace

extern "C" {
void * __real__Znwm(size_t size);
void * __wrap__Znwm(size_t size);

void * __wrap__Znwm(size_t size) {
    if (budget) {
        count(size);
    }
    return __real__Znwm(size);
}
}

#define TEXT_OF(name) #name
#define TEXT(name)    TEXT_OF(name)
#define REAL(name)    __asm__("__real_" TEXT(name))
#define WRAP(name)    __asm__("__wrap_" TEXT(name))

using Words = std::map<std::string, std::string>;

common_chat_templates_ptr real_init(const llama_model * model, const std::string & text, const std::string & bos, const std::string & eos)
    REAL(LFTOOL_TEMPLATES_INIT);
common_chat_templates_ptr wrap_init(const llama_model * model, const std::string & text, const std::string & bos, const std::string & eos)
    WRAP(LFTOOL_TEMPLATES_INIT);
common_chat_params real_apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) REAL(LFTOOL_TEMPLATES_APPLY);
common_chat_params wrap_apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) WRAP(LFTOOL_TEMPLATES_APPLY);
std::string        real_example(const common_chat_templates * templates, bool jinja, const Words & words) REAL(LFTOOL_FORMAT_EXAMPLE);
std::string        wrap_example(const common_chat_templates * templates, bool jinja, const Words & words) WRAP(LFTOOL_FORMAT_EXAMPLE);
bool               real_thinking(const common_chat_templates * templates) REAL(LFTOOL_ENABLE_THINKING);
bool               wrap_thinking(const common_chat_templates * templates) WRAP(LFTOOL_ENABLE_THINKING);

common_chat_templates_ptr wrap_init(const llama_model * model, const std::string & text, const std::string & bos, const std::string & eos) {
    check_size(model);
    Rendering bounded;
    return real_init(model, text, bos, eos);
}

common_chat_params wrap_apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) {
    Rendering bounded;
    return real_apply(templates, inputs);
}

std::string wrap_example(const common_chat_templates * templates, bool jinja, const Words & words) {
    Rendering bounded;
    return real_example(templates, jinja, words);
}

bool wrap_thinking(const common_chat_templates * templates) {
    Rendering bounded;
    return real_thinking(templates);
}
