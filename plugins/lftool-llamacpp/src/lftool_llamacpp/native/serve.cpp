// llama-server on the bundle, as the run contract asks for.
#include "gate.h"
#include "kind.h"
#include "options.h"
#include "page.h"

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <iterator>
#include <system_error>
#include <thread>

#include <unistd.h>

#include <cpp-httplib/httplib.h>

#include "log.h"

int  llama_server(int argc, char ** argv);
void llama_server_terminate();

namespace lftool {

namespace {

// How many are answered at once; the others wait. The record of the runtime says the same, for memory is reckoned with it.
const int REQUESTS = 4;

// For a model without a chat template: what is said is completed as it is. Upstream would take another model's template.
const char * const AS_GIVEN = "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}";

// Options of llama-server that may follow --: how fast it works, how it samples, what a conversation looks like. None of them
// names a model, a file, a program, another machine, an address, or a key. What upstream adds is refused until it is listed;
// tests/native/test_options.py looks each up in the pinned sources (common/arg.cpp).
const char * const ALLOWED[] = {
    // threads and memory
    "-t", "--threads", "-tb", "--threads-batch", "--threads-http", "-C", "--cpu-mask", "-Cr", "--cpu-range", "--cpu-strict",
    "--prio", "--poll", "-Cb", "--cpu-mask-batch", "-Crb", "--cpu-range-batch", "--cpu-strict-batch", "--prio-batch",
    "--poll-batch", "--numa", "-c", "--ctx-size", "--kv-unified-per-slot", "-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified",
    "-b", "--batch-size", "-ub", "--ubatch-size", "--keep", "--swa-full", "-ctxcp", "--ctx-checkpoints", "--swa-checkpoints",
    "-cms", "--checkpoint-min-step", "-cram", "--cache-ram", "--cache-idle-slots", "--no-cache-idle-slots", "--context-shift",
    "--no-context-shift", "-ctk", "--cache-type-k", "-ctv", "--cache-type-v", "-dt", "--defrag-thold", "-np", "--parallel", "-cb",
    "--cont-batching", "-nocb", "--no-cont-batching", "--cache-prompt", "--no-cache-prompt", "--cache-reuse", "-sps",
    "--slot-prompt-similarity", "--warmup", "--no-warmup", "--perf", "--no-perf", "--sleep-idle-seconds", "--repack", "-nr",
    "--no-repack", "--no-host", "--op-offload", "--no-op-offload", "--check-tensors",
    // devices of this machine
    "-dev", "--device", "-ngl", "--gpu-layers", "--n-gpu-layers", "-sm", "--split-mode", "-ts", "--tensor-split", "-mg",
    "--main-gpu", "-fit", "--fit", "-fitt", "--fit-target", "-fitc", "--fit-ctx", "-fa", "--flash-attn", "-kvo", "--kv-offload",
    "-nkvo", "--no-kv-offload", "-ot", "--override-tensor", "-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe", "-ncffn",
    "--n-cpu-ffn", "--mmproj-offload", "--no-mmproj-offload",
    // the model's own numbers
    "--rope-scaling", "--rope-scale", "--rope-freq-base", "--rope-freq-scale", "--yarn-orig-ctx", "--yarn-ext-factor",
    "--yarn-attn-factor", "--yarn-beta-slow", "--yarn-beta-fast", "-gan", "--grp-attn-n", "-gaw", "--grp-attn-w", "--pooling",
    "--attention", "--image-min-tokens", "--image-max-tokens", "--mtmd-batch-max-tokens", "--override-kv",
    // sampling
    "-n", "--predict", "--n-predict", "--samplers", "-s", "--seed", "--sampler-seq", "--sampling-seq", "--ignore-eos", "--temp",
    "--temperature", "--top-k", "--top-p", "--min-p", "--top-nsigma", "--top-n-sigma", "--xtc-probability", "--xtc-threshold",
    "--typical", "--typical-p", "--repeat-last-n", "--repeat-penalty", "--presence-penalty", "--frequency-penalty",
    "--dry-multiplier", "--dry-base", "--dry-allowed-length", "--dry-penalty-last-n", "--dry-sequence-breaker",
    "--adaptive-target", "--adaptive-decay", "--dynatemp-range", "--dynatemp-exp", "--mirostat", "--mirostat-lr",
    "--mirostat-ent", "-l", "--logit-bias", "-bs", "--backend-sampling", "-r", "--reverse-prompt", "-sp", "--special",
    // conversations, and what is told of them
    "--jinja", "--no-jinja", "--chat-template", "--chat-template-kwargs", "--skip-chat-parsing", "--no-skip-chat-parsing",
    "--prefill-assistant", "--no-prefill-assistant", "--reasoning-format", "-rea", "--reasoning", "--reasoning-effort",
    "--reasoning-budget", "--reasoning-budget-message", "--reasoning-preserve", "--no-reasoning-preserve", "--spm-infill",
    "-e", "--escape", "--no-escape", "-to", "--timeout", "--sse-ping-interval", "--metrics", "--no-slots", "--ui", "--no-ui",
    "--embedding", "--embeddings", "--rerank", "--reranking", "--log-disable", "--log-colors", "--log-prefix", "--no-log-prefix",
    "--log-timestamps", "--no-log-timestamps", "-lv", "--verbosity", "--log-verbosity", "--offline",
};
// With a key, pages of other sites may be let in.
const char * const ALLOWED_WITH_KEY[] = { "--cors-origins", "--cors-methods", "--cors-headers", "--cors-credentials", "--no-cors-credentials" };

// Returns an option as llama.cpp's parser reads it (common/arg.cpp): without a value, and `_` is `-`.
std::string plain_name(const std::string & word) {
    std::string name = word.substr(0, word.find('='));
    if (name.rfind("--", 0) == 0) {
        std::replace(name.begin(), name.end(), '_', '-');
    }
    return name;
}

// Returns whether a word is a value: a number below zero begins with a dash as options do.
bool is_value(const std::string & word) {
    return word.empty() || word[0] != '-' || (word.size() > 1 && (isdigit(static_cast<unsigned char>(word[1])) || word[1] == '.'));
}

void check_rest(const std::vector<std::string> & rest, bool has_key) {
    for (const std::string & word : rest) {
        if (is_value(word)) {
            continue;
        }
        const std::string name    = plain_name(word);
        const auto        is_name = [&](const char * known) { return name == known; };
        bool              allowed = std::any_of(std::begin(ALLOWED), std::end(ALLOWED), is_name);
        allowed = allowed || (has_key && std::any_of(std::begin(ALLOWED_WITH_KEY), std::end(ALLOWED_WITH_KEY), is_name));
        if (!allowed) {
            throw Problem(2, name + " may not stand behind --: a bundle serves its own model, and --host, --port and --api-key stand before --");
        }
    }
}

bool asks_for_log(const std::vector<std::string> & rest) {
    return std::any_of(rest.begin(), rest.end(), [](const std::string & word) {
        const std::string name = plain_name(word);
        return name == "-lv" || name == "--verbosity" || name == "--log-verbosity";
    });
}

// Ends the server when it is told to. Upstream's handler takes locks that the interrupted thread may hold; here a thread of its
// own waits for the signal. Connections that stay open are given a few seconds.
void end_on_signals() {
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stops, nullptr);  // for all threads that come
    std::thread([stops] {
        int got = 0;
        sigwait(&stops, &got);
        try {
            std::thread(llama_server_terminate).detach();
            const timespec patience = { 5, 0 };
            sigtimedwait(&stops, nullptr, &patience);  // a second one ends it at once
        } catch (const std::system_error &) {
            // clients have all threads that are to be had: it ends at once
        }
        fflush(nullptr);
        _exit(0);
    }).detach();
}

}  // namespace

int serve(const Bundle & bundle, const Options & options) {
    const char *      variable = getenv("LLAMA_API_KEY");
    const std::string key      = !options.api_key.empty() ? options.api_key : variable != nullptr ? variable : "";
    check_host(options.host);
    check_key(key);
    if (!is_loopback(options.host) && key.empty() && !options.insecure) {
        throw Problem(2, "serving on " + options.host + " lets other machines in: give --api-key, or --insecure if that is meant");
    }
    if (!key.empty()) {
        setenv("LLAMA_API_KEY", key.c_str(), 1);  // command lines can be read by everybody on the machine
    }
    check_rest(options.rest, !key.empty());
    if (key.empty()) {
        close_adapters();
        if (!options.insecure) {
            refuse_other_sites();
        }
    }
    end_on_signals();
    std::vector<std::string> words = model_arguments(bundle, options);
    words.insert(words.begin(), "llama-server");
    const auto add = [&](const char * name, const std::string & value) {
        words.push_back(name);
        words.push_back(value);
    };
    add("--host", options.host);
    add("--port", options.port);
    add("--alias", bundle.title);
    add("--parallel", std::to_string(REQUESTS));
    words.push_back("--kv-unified");
    const Kind    kind    = kind_of(bundle);
    const bool    vectors = options.embeddings || kind.does != Does::GENERATES;
    const int64_t context = vectors ? most_tokens(bundle, kind) : bundle.contract.value("context", int64_t(0));
    introduce(bundle, vectors && kind.does == Does::GENERATES ? Does::EMBEDS : kind.does, context > 0 ? context : kind.context);
    // The contract's context is each request's, whatever the others take; where it names none, they share the model's own length.
    add(context > 0 ? "--kv-unified-per-slot" : "-c", std::to_string(context));
    words.push_back("--metrics");
    words.push_back("--no-slots");  // they show what others have asked
    add("--cache-ram", "0");        // memory stays what the model needs
    if (key.empty()) {
        add("--cors-origins", "localhost");  // without a key, pages of anybody's could ask
    }
    for (const auto & stop : bundle.contract.value("stop", std::vector<std::string>())) {
        add("-r", stop);
    }
    const int most = bundle.contract.value("max_tokens", 0);
    if (most > 0) {
        add("-n", std::to_string(most));
    }
    if (kind.chat == Chat::NAME) {
        words.push_back("--no-jinja");  // llama.cpp knows names by its own templates, which are no jinja
    } else if (kind.chat == Chat::NONE && !vectors) {
        add("--chat-template", AS_GIVEN);
        fprintf(stderr, "%s: %s\n", bundle.name.c_str(), NO_TEMPLATE);
    }
    if (vectors) {
        words.push_back(kind.does == Does::RANKS ? "--reranking" : "--embeddings");
        add("--batch-size", std::to_string(context));
        add("--ubatch-size", std::to_string(context));
        if (!kind.pooled && kind.does != Does::RANKS) {
            add("--pooling", "mean");
        }
    }
    Descriptor copied;
    if (const Content * projector = bundle.find("projector")) {
        // clip.cpp opens it by path and has no other way.
        copied = bundle.copy_to_memory(*projector);
        add("--mmproj", "/proc/self/fd/" + std::to_string(copied.get()));
        fprintf(stderr, "%s: the projector is copied to memory: %.1f MB\n", bundle.name.c_str(), projector->size / 1e6);
    }
    if (options.think >= 0) {
        add("--reasoning", options.think != 0 ? "on" : "off");
    }
    if (!asks_for_log(options.rest)) {
        add("--verbosity", std::to_string(LOG_LEVEL_ERROR));
    }
    words.insert(words.end(), options.rest.begin(), options.rest.end());
    if (getenv("LFTOOL_BUNDLE") == nullptr) {  // `lftool serve` has said it already
        const bool colons = options.host.find(':') != std::string::npos;
        fprintf(stderr, "%s: serving on http://%s:%s/v1\n", bundle.name.c_str(),
                (colons ? "[" + options.host + "]" : options.host).c_str(), options.port.c_str());
    }
    std::vector<char *> argv;
    for (std::string & word : words) {
        argv.push_back(&word[0]);
    }
    argv.push_back(nullptr);
    return llama_server(static_cast<int>(argv.size()) - 1, argv.data());
}

int ask_health(const std::string & host, const std::string & port) {
    httplib::Client client(host, std::stoi(port));
    client.set_connection_timeout(2);
    client.set_read_timeout(2);
    const auto answer = client.Get("/health");
    return answer && answer->status == 200 ? 0 : 1;
}

}  // namespace lftool
