#include "options.h"

#include <algorithm>
#include <cstdlib>

#include "applied.h"
#include "common.h"
#include "cores.h"
#include "neighbours.h"
#include "llama.h"

namespace lftool {

namespace {

constexpr size_t MOST_SHOWN = 40;  // letters of a system prompt

// Returns what the run contract says, for the list of options.
std::string said(const nlohmann::json & contract, const char * name) {
    if (!contract.contains(name)) {
        return "";
    }
    std::string value = contract.at(name).is_string() ? contract.at(name).get<std::string>() : contract.at(name).dump();
    if (value.size() > MOST_SHOWN) {
        value = value.substr(0, MOST_SHOWN) + "…";
    }
    return "; default " + value;
}

}  // namespace

std::string usage(const std::string & program, const nlohmann::json & contract) {
    return "Usage: " + program + " [OPTIONS]\n"
        "\n"
        "Run the model in this file.\n"
        "\n"
        "  -p, --prompt TEXT          answer this and exit; default: standard input, or a chat\n"
        "  --max-tokens N             at most N tokens an answer" + said(contract, "max_tokens") + "\n"
        "  --temperature T            0 always takes the likeliest token" + said(contract, "temperature") + "\n"
        "  --top-p P                  sample from the likeliest tokens that make up P" + said(contract, "top_p") + "\n"
        "  --seed N                   seed of the sampler" + said(contract, "seed") + "\n"
        "  --system TEXT              system prompt" + said(contract, "system") + "\n"
        "  --ctx N                    tokens of context" + said(contract, "context") + "\n"
        "  --think, --no-think        have the model think first, or answer at once, if it can\n"
        "  --stats                    in a chat: figures after each answer\n"
        "  --raw                      complete the text as given, without the chat template\n"
        "  --server                   serve the OpenAI-compatible API\n"
        "  --host ADDRESS             where to listen; default 127.0.0.1\n"
        "  --port N                   default 8080\n"
        "  --api-key KEY              what clients must send; better in the variable LLAMA_API_KEY\n"
        "  --embeddings               with --server: make embeddings in place of answers\n"
        "  --insecure                 listen to other machines without a key\n"
        "  --threads N                default: one for each core that it may use\n"
        "  --gpu-layers N             how many layers go to accelerators; default: as many as fit\n"
        "  --tensor-split A,B,…       how they are shared among accelerators\n"
        "  --flash-attention VALUE    on, off or auto\n"
        "  --healthy PORT             ask a server whether it is well, and exit; --host names another address than 127.0.0.1\n"
        "  --require-device           do not start where there is no accelerator that can be used\n"
        "  --verify                   check every content against the manifest and exit\n"
        "  --version                  what this is made of\n"
        "  --licenses                 the licences of what this is made of\n"
        "  -h, --help                 this text\n"
        "  -- …                       with --server: options of llama-server\n";
}

Options parse_options(int argc, char ** argv) {
    Options                        options;
    const std::vector<std::string> given(argv + 1, argv + argc);
    for (size_t i = 0; i < given.size(); i++) {
        std::string name = given[i], value;
        bool        joined = false;
        if (name.rfind("--", 0) == 0 && name.find('=') != std::string::npos) {
            value  = name.substr(name.find('=') + 1);
            name   = name.substr(0, name.find('='));
            joined = true;
        }
        const auto text = [&]() -> std::string {
            if (joined) {
                joined = false;
                return value;
            }
            if (i + 1 >= given.size()) {
                throw Problem(2, name + " needs a value");
            }
            return given[++i];
        };
        const auto whole = [&](long least, long most) {
            const std::string word = text();
            char *            end  = nullptr;
            const long        read = strtol(word.c_str(), &end, 10);
            if (word.empty() || *end != '\0' || read < least || read > most) {
                throw Problem(2, name + ": " + word + " is not a number from " + std::to_string(least) + " on");
            }
            return read;
        };
        const auto count = [&]() { return static_cast<int>(whole(1, 0x7FFFFFFF)); };
        const auto real = [&](double most) {  // stays the digits that it is
            const std::string word = text();
            char *            end  = nullptr;
            const double      read = strtod(word.c_str(), &end);
            if (word.empty() || *end != '\0' || !(read >= 0 && read <= most)) {
                throw Problem(2, name + ": " + word + " is not a number from 0 to " + std::to_string(static_cast<int>(most)));
            }
            return word;
        };
        const auto port = [&]() {
            const int number = count();
            if (number > 65535) {
                throw Problem(2, name + ": " + std::to_string(number) + " is no port");
            }
            return std::to_string(number);
        };
        if (name == "-p" || name == "--prompt") {
            options.prompt     = text();
            options.has_prompt = true;
        } else if (name == "--max-tokens") {
            options.contract["max_tokens"] = count();
        } else if (name == "--ctx") {
            options.contract["context"] = count();
        } else if (name == "--temperature") {
            options.contract["temperature"] = real(100);
        } else if (name == "--top-p") {
            options.contract["top_p"] = real(1);
        } else if (name == "--seed") {
            options.contract["seed"] = whole(0, 0xFFFFFFFE);
        } else if (name == "--system") {
            options.contract["system"] = text();
        } else if (name == "--think" || name == "--no-think") {
            options.think = name == "--think" ? 1 : 0;
        } else if (name == "--stats") {
            options.stats = true;
        } else if (name == "--threads") {
            options.threads = count();
            if (options.threads > GGML_MAX_N_THREADS) {
                throw Problem(2, "--threads: llama.cpp takes no more than " + std::to_string(GGML_MAX_N_THREADS));
            }
        } else if (name == "--host") {
            options.host = text();
        } else if (name == "--port") {
            options.port = port();
        } else if (name == "--api-key") {
            options.api_key = text();
        } else if (name == "--bundle") {
            options.bundle = text();
        } else if (name == "--gpu-layers") {
            options.gpu_layers = text();
        } else if (name == "--tensor-split") {
            options.tensor_split = text();
        } else if (name == "--flash-attention") {
            options.flash_attention = text();
        } else if (name == "--require-device") {
            options.require_device = true;
        } else if (name == "--raw") {
            options.raw = true;
        } else if (name == "--server") {
            options.server = true;
        } else if (name == "--embeddings") {
            options.embeddings = true;
        } else if (name == "--insecure") {
            options.insecure = true;
        } else if (name == "--verify") {
            options.verify = true;
        } else if (name == "--version") {
            options.version = true;
        } else if (name == "--healthy") {
            options.healthy = port();
        } else if (name == "--licenses") {
            options.licenses = true;
        } else if (name == "-h" || name == "--help") {
            options.help = true;
        } else if (name == "--") {
            options.rest.assign(given.begin() + static_cast<long>(i) + 1, given.end());
            break;
        } else {
            throw Problem(2, "unknown option " + given[i] + "; --help lists them");
        }
        if (joined) {
            throw Problem(2, name + " takes no value");
        }
    }
    if (!options.rest.empty() && !options.server) {
        throw Problem(2, "what follows -- is for the server; give --server too");
    }
    return options;
}

std::vector<std::string> model_arguments(const Bundle & bundle, const Options & options) {
    const auto &             contract = bundle.contract;
    std::vector<std::string> words    = { "-m", WEIGHTS, "--offline" };
    const auto               add      = [&](const char * name, const std::string & value) {
        words.push_back(name);
        words.push_back(value);
    };
    // Reals of a contract are decimal strings, and stay the digits that they are.
    for (const auto & [key, name] : { std::pair<const char *, const char *>{ "temperature", "--temp" },
                                      { "top_p", "--top-p" },
                                      { "min_p", "--min-p" },
                                      { "repeat_penalty", "--repeat-penalty" } }) {
        if (contract.contains(key)) {
            add(name, contract.at(key).get<std::string>());
        }
    }
    if (contract.contains("top_k")) {
        add("--top-k", std::to_string(contract.at("top_k").get<int64_t>()));
    }
    add("--seed", std::to_string(contract.value("seed", int64_t(0))));
    const auto context = context_arguments(contract);
    words.insert(words.end(), context.begin(), context.end());
    if (bundle.find("adapter") != nullptr) {
        add("--lora", ADAPTER);
    }
    // llama.cpp counts the machine's cores. Its threads spin while they wait: more of them than may run make it crawl.
    const int most = std::min(usable_cores(), common_cpu_get_num_math());
    add("-t", std::to_string(options.threads > 0 ? options.threads : share_cores(most)));
    if (!options.gpu_layers.empty()) {
        add("-ngl", options.gpu_layers);
    }
    if (!options.tensor_split.empty()) {
        add("-ts", options.tensor_split);
    }
    if (!options.flash_attention.empty()) {
        add("-fa", options.flash_attention);
    }
    if (!llama_supports_gpu_offload()) {
        add("-fit", "off");  // nothing to fit: the weights stay where they are
    }
    return words;
}

}  // namespace lftool
