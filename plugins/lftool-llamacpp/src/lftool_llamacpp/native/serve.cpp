// llama-server on the bundle, as the run contract asks for.
#include "options.h"

#include <cstdlib>

#include <cpp-httplib/httplib.h>

#include "server-common.h"

int llama_server(int argc, char ** argv);

namespace lftool {

namespace {

bool is_loopback(const std::string & host) {
    return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

}  // namespace

int serve(const Bundle & bundle, const Options & options) {
    const char *      variable = getenv("LLAMA_API_KEY");
    const std::string key      = !options.api_key.empty() ? options.api_key : variable != nullptr ? variable : "";
    if (!is_loopback(options.host) && key.empty() && !options.insecure) {
        throw Problem(2, "serving on " + options.host + " lets other machines in: give --api-key, or --insecure if that is meant");
    }
    if (!key.empty()) {
        setenv("LLAMA_API_KEY", key.c_str(), 1);  // command lines can be read by everybody on the machine
    }
    std::vector<std::string> words = model_arguments(bundle, options);
    words.insert(words.begin(), "llama-server");
    const auto add = [&](const char * name, const std::string & value) {
        words.push_back(name);
        words.push_back(value);
    };
    add("--host", options.host);
    add("--port", options.port);
    add("--alias", bundle.title);
    words.push_back("--metrics");
    words.push_back("--no-slots");  // they show what others have asked
    add("--cache-ram", "0");        // memory stays what the model needs
    if (key.empty()) {
        add("--cors-origins", "localhost");  // without a key, pages of anybody's could ask
    }
    for (const auto & stop : bundle.contract.value("stop", std::vector<std::string>())) {
        add("-r", stop);
    }
    const int most = options.max_tokens > 0 ? options.max_tokens : bundle.contract.value("max_tokens", 0);
    if (most > 0) {
        add("-n", std::to_string(most));
    }
    if (options.embeddings) {
        words.push_back("--embeddings");
        add("--pooling", "mean");
    }
    if (const Content * projector = bundle.find("projector")) {
        // clip.cpp opens it by path and has no other way.
        add("--mmproj", "/proc/self/fd/" + std::to_string(bundle.copy_to_memory(*projector)));
        fprintf(stderr, "%s: the projector is copied to memory: %.1f MB\n", bundle.name.c_str(), projector->size / 1e6);
    }
    words.insert(words.end(), options.rest.begin(), options.rest.end());
    std::vector<char *> argv;
    for (std::string & word : words) {
        argv.push_back(&word[0]);
    }
    argv.push_back(nullptr);
    return llama_server(static_cast<int>(argv.size()) - 1, argv.data());
}

int ask_health(const std::string & port) {
    httplib::Client client("127.0.0.1", std::stoi(port));
    client.set_connection_timeout(2);
    client.set_read_timeout(2);
    const auto answer = client.Get("/health");
    return answer && answer->status == 200 ? 0 : 1;
}

}  // namespace lftool

#define TEXT_OF(name) #name
#define TEXT(name)    TEXT_OF(name)

// The server asks clients for a system prompt and has none of its own: where a request brings none, the contract's is used.
json wrap_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files)
    __asm__("__wrap_" TEXT(LFTOOL_CHAT_PARAMS));
json real_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files)
    __asm__("__real_" TEXT(LFTOOL_CHAT_PARAMS));

json wrap_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files) {
    const auto & contract = lftool::own->contract;
    if (contract.contains("system") && body.contains("messages") && body.at("messages").is_array()) {
        bool has_system = false;
        for (const auto & message : body.at("messages")) {
            if (message.is_object() && message.contains("role")) {
                const std::string role = message.at("role").is_string() ? message.at("role").get<std::string>() : "";
                has_system = has_system || role == "system" || role == "developer";
            }
        }
        if (!has_system) {
            json messages = json::array();
            json message  = json::object();
            message["role"]    = "system";
            message["content"] = contract.at("system").get<std::string>();
            messages.push_back(message);
            for (const auto & given : body.at("messages")) {
                messages.push_back(given);
            }
            body["messages"] = messages;
        }
    }
    return real_chat_params(body, options, files);
}
