// What a client of llama-server asks for in a chat, before the server reads it: the contract's system prompt where
// there is none, and schemas that hold after every template.
#include "bundle.h"

#include <cctype>

#include "common.h"
#include "json-schema-to-grammar.h"
#include "server-common.h"
#include "wrap.h"

json wrap_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files)
    LFTOOL_OURS(LFTOOL_CHAT_PARAMS);
json real_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files)
    LFTOOL_THEIRS(LFTOOL_CHAT_PARAMS);

namespace {

// The server asks clients for a system prompt and has none of its own: where a request brings none, the contract's is used.
void add_system(json & body) {
    const auto & contract = lftool::own().contract;
    if (!contract.contains("system") || !body.contains("messages") || !body.at("messages").is_array()) {
        return;
    }
    for (const auto & message : body.at("messages")) {
        if (message.is_object() && message.contains("role")) {
            const std::string role = message.at("role").is_string() ? message.at("role").get<std::string>() : "";
            if (role == "system" || role == "developer") {
                return;
            }
        }
    }
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

// Upstream feeds what a template writes behind the last message to the grammar, token by token, and leaves out a first token
// that begins with a space of the tokenizer's (common/sampling.cpp). Where that token holds the first word as well, as a
// SentencePiece tokenizer makes it of plain text, no answer can follow. Tells whether that would happen.
bool is_stuck(const json & asked) {
    const std::string behind = asked.value("generation_prompt", std::string());
    const auto *      model  = lftool::loaded_model();
    if (model == nullptr || behind.empty() || isspace(static_cast<unsigned char>(behind[0])) != 0) {
        return false;
    }
    const llama_vocab * vocab  = llama_model_get_vocab(model);
    const auto          tokens = common_tokenize(vocab, behind, false, true);
    const std::string   first  = tokens.empty() ? "" : common_token_to_piece(vocab, tokens[0], true);
    return !first.empty() && isspace(static_cast<unsigned char>(first[0])) != 0 && first.find_first_not_of(" \t\r\n") != std::string::npos;
}

// Returns the schema that a request names, as upstream reads it (tools/server/server-common.cpp); null without one.
json schema_of(const json & body) {
    json schema = json_value(body, "json_schema", json());
    if (body.contains("response_format")) {
        const json        format = json_value(body, "response_format", json::object());
        const std::string type   = json_value(format, "type", std::string());
        if (type == "json_object" && (format.contains("schema") || schema.empty())) {
            schema = json_value(format, "schema", json::object());
        } else if (type == "json_schema") {
            schema = json_value(json_value(format, "json_schema", json::object()), "schema", json::object());
        }
    }
    if (schema.is_object() && schema.empty()) {
        schema["type"] = "object";
    }
    return schema;
}

}  // namespace

json wrap_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files) {
    add_system(body);
    const json schema = schema_of(body);
    if (schema.is_null() || !json_value(body, "tools", json::array()).empty()) {
        return real_chat_params(body, options, files);
    }
    json         given  = body;
    const size_t before = files.size();
    json         asked  = real_chat_params(body, options, files);
    if (!is_stuck(asked)) {
        return asked;
    }
    files.resize(before);
    given.erase("response_format");
    given.erase("json_schema");
    asked = real_chat_params(given, options, files);
    asked["grammar"]      = json_schema_to_grammar(schema);  // without a type it is a client's own, which begins with the answer
    asked["grammar_lazy"] = false;
    return asked;
}
