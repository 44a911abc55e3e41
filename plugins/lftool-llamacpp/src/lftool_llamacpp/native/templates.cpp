// A budget for chat templates: they come with the model, and a loop in one must not keep the server, or take its memory.
//
// llama.cpp gives templates no bounds of their own, but nothing in one goes on without memory: each step makes values. So the
// linker puts functions of ours in place of those that render, and of operator new and delete (-Wl,--wrap). While a thread
// renders, each piece of memory is counted: against a deadline, against a sum, against how many there may be at once, and
// against the stack, which a macro fills that calls itself.
//
// Values that lie in each other give their memory back by calls as deep as they lie, where nothing can be refused any more. How
// many there may be at once bounds that depth, and the thread that renders has a stack for it.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <pthread.h>
#include <sys/mman.h>

#include "chat.h"
#include "llama.h"
#include "throwing.h"
#include "wrap.h"

namespace {

const size_t  MOST_BYTES   = size_t(1) << 20;  // of a template; lftool_llamacpp has the same bound for Python
const int     MOST_SECONDS = 5;                // likewise; messages name it
const size_t  MOST_MEMORY  = size_t(4) << 30;  // taken in all, also what has been given back
const int64_t MOST_PIECES  = 1000 * 1000;      // at once
const size_t  MOST_STACK   = size_t(3) << 20;  // of calls that can be refused
const size_t  STACK        = size_t(512) << 20;  // 500 bytes for each piece; pages that are not touched are not there
const int     STEPS_A_LOOK = 16;

struct Budget {
    const char *                          stack;
    std::chrono::steady_clock::time_point until = std::chrono::steady_clock::now() + std::chrono::seconds(MOST_SECONDS);
    size_t                                left   = MOST_MEMORY;
    int64_t                               pieces = 0;
    int                                   steps  = 0;
};

thread_local Budget * budget = nullptr;

// Throws, or returns where nothing can be thrown: then the next piece of memory is refused, or one after that. What handles the
// error takes memory too, so the budget is off while it is made, and a little of it comes back.
void refuse(const char * most) {
    Budget * spent = budget;
    budget         = nullptr;
    if (!lftool::can_throw()) {
        budget = spent;
        return;
    }
    std::runtime_error error(std::string("the chat template ") + most);
    spent->until  = std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
    spent->left   = size_t(64) << 20;
    spent->pieces = MOST_PIECES - 10000;
    budget        = spent;
    throw error;
}

void count(size_t size) {
    const char * here  = static_cast<const char *>(__builtin_frame_address(0));
    const size_t depth = static_cast<size_t>(here < budget->stack ? budget->stack - here : here - budget->stack);
    if (depth > MOST_STACK) {
        refuse("calls itself too deeply");
    }
    if (size > budget->left) {
        refuse("takes too much memory");
    }
    if (budget->pieces >= MOST_PIECES) {
        refuse("makes too many values");
    }
    if (++budget->steps % STEPS_A_LOOK == 0 && std::chrono::steady_clock::now() > budget->until) {
        refuse("takes longer than 5 s");
    }
    budget->left -= std::min(size, budget->left);
    budget->pieces++;
}

// A stack that counts as memory only where it is used, also under a limit on data: that is why it is shared.
class Stack {
  public:
    Stack() : base_(mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
        if (base_ == MAP_FAILED || mprotect(base_, size_t(64) << 10, PROT_NONE) != 0) {
            throw std::runtime_error("there is no memory for the stack of a chat template");
        }
    }
    ~Stack() { munmap(base_, STACK); }
    Stack(const Stack &)             = delete;
    Stack & operator=(const Stack &) = delete;

    void * base() const { return base_; }

  private:
    void * base_;
};

void * work(void * task) {
    Budget own;
    own.stack = static_cast<const char *>(__builtin_frame_address(0));
    budget    = &own;
    (*static_cast<std::function<void()> *>(task))();
    budget = nullptr;
    return nullptr;
}

// Returns what `render` returns, within the budget; throws what it throws.
template <typename Result> Result bounded(const std::function<Result()> & render) {
    if (budget != nullptr) {
        return render();  // this thread renders already
    }
    std::optional<Result> result;
    std::exception_ptr    error;
    std::function<void()> task = [&] {
        try {
            result.emplace(render());
        } catch (...) {
            budget = nullptr;
            error  = std::current_exception();
        }
    };
    Stack          stack;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack.base(), STACK);
    pthread_t thread;
    const int failed = pthread_create(&thread, &attributes, work, &task);
    pthread_attr_destroy(&attributes);
    if (failed != 0) {
        throw std::runtime_error(std::string("there is no thread to be had for the chat template: ") + strerror(failed));
    }
    pthread_join(thread, nullptr);
    if (error) {
        std::rethrow_exception(error);
    }
    return std::move(*result);
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

void * real_new(size_t size) LFTOOL_THEIRS(_Znwm);
void * wrap_new(size_t size) LFTOOL_OURS(_Znwm);
void   real_delete(void * piece) LFTOOL_THEIRS(_ZdlPv);
void   wrap_delete(void * piece) LFTOOL_OURS(_ZdlPv);
void   real_sized_delete(void * piece, size_t size) LFTOOL_THEIRS(_ZdlPvm);
void   wrap_sized_delete(void * piece, size_t size) LFTOOL_OURS(_ZdlPvm);

void * wrap_new(size_t size) {
    if (budget) {
        count(size);
    }
    return real_new(size);
}

void wrap_delete(void * piece) {
    if (budget && piece) {
        budget->pieces--;
    }
    real_delete(piece);
}

void wrap_sized_delete(void * piece, size_t size) {
    if (budget && piece) {
        budget->pieces--;
    }
    real_sized_delete(piece, size);
}

using Words = std::map<std::string, std::string>;

common_chat_templates_ptr real_init(const llama_model * model, const std::string & text, const std::string & bos, const std::string & eos)
    LFTOOL_THEIRS(LFTOOL_TEMPLATES_INIT);
common_chat_templates_ptr wrap_init(const llama_model * model, const std::string & text, const std::string & bos, const std::string & eos)
    LFTOOL_OURS(LFTOOL_TEMPLATES_INIT);
common_chat_params real_apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) LFTOOL_THEIRS(LFTOOL_TEMPLATES_APPLY);
common_chat_params wrap_apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) LFTOOL_OURS(LFTOOL_TEMPLATES_APPLY);
std::string        real_example(const common_chat_templates * templates, bool jinja, const Words & words) LFTOOL_THEIRS(LFTOOL_FORMAT_EXAMPLE);
std::string        wrap_example(const common_chat_templates * templates, bool jinja, const Words & words) LFTOOL_OURS(LFTOOL_FORMAT_EXAMPLE);
bool               real_thinking(const common_chat_templates * templates) LFTOOL_THEIRS(LFTOOL_ENABLE_THINKING);
bool               wrap_thinking(const common_chat_templates * templates) LFTOOL_OURS(LFTOOL_ENABLE_THINKING);

common_chat_templates_ptr wrap_init(const llama_model * model, const std::string & text, const std::string & bos, const std::string & eos) {
    check_size(model);
    return bounded<common_chat_templates_ptr>([&] { return real_init(model, text, bos, eos); });
}

common_chat_params wrap_apply(const common_chat_templates * templates, const common_chat_templates_inputs & inputs) {
    return bounded<common_chat_params>([&] { return real_apply(templates, inputs); });
}

std::string wrap_example(const common_chat_templates * templates, bool jinja, const Words & words) {
    return bounded<std::string>([&] { return real_example(templates, jinja, words); });
}

bool wrap_thinking(const common_chat_templates * templates) {
    return bounded<bool>([&] { return real_thinking(templates); });
}
