// What a client of llama-server asks for in a chat, before the server reads it: the contract's system prompt where
// there is none, schemas that hold after every template, and calls of tools whether or not the template knows of them.
#include "bundle.h"

#include <cctype>
#include <stdexcept>

#include "chat.h"
#include "chat-peg-parser.h"
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

// Where a request does not say what an answer is, the contract does.
void hold_to_contract(json & body) {
    for (const char * name : { "response_format", "json_schema", "grammar" }) {
        if (body.contains(name) && !body.at(name).is_null()) {
            return;
        }
    }
    const auto & contract = lftool::own().contract;
    if (contract.contains("json_schema")) {
        body["json_schema"] = json::parse(contract.at("json_schema").get<std::string>());
    } else if (contract.contains("grammar")) {
        body["grammar"] = contract.at("grammar").get<std::string>();
    }
}

// Which tools may be called, and whether one must be.
struct Tools {
    json listed = json::array();
    bool called   = false;  // whether any may be called
    bool required = false;
};

// Returns what a request says of tools, and says it again as upstream reads it, which ignores a choice that is an object.
// Throws std::invalid_argument, which clients see as their own fault.
Tools choose_tools(json & body) {
    Tools tools;
    if (body.contains("tools") && !body.at("tools").is_null()) {
        if (!body.at("tools").is_array()) {
            throw std::invalid_argument("tools must be a list");
        }
        for (const auto & tool : body.at("tools")) {
            const bool sound = tool.is_object() && tool.contains("function") && tool.at("function").is_object() &&
                               tool.at("function").contains("name") && tool.at("function").at("name").is_string();
            if (!sound) {
                throw std::invalid_argument("a tool has the type function, and a function with a name");
            }
            tools.listed.push_back(tool);
        }
    }
    const json choice = json_value(body, "tool_choice", json());
    if (choice.is_object()) {
        const std::string name   = json_value(json_value(choice, "function", json::object()), "name", std::string());
        json              chosen = json::array();
        for (const auto & tool : tools.listed) {
            if (tool.at("function").at("name").get<std::string>() == name) {
                chosen.push_back(tool);
            }
        }
        tools.listed        = chosen;
        body["tools"]       = chosen;
        body["tool_choice"] = "required";
    }
    const std::string word = json_value(body, "tool_choice", std::string("auto"));
    tools.required         = word == "required";
    tools.called           = word != "none" && !tools.listed.empty();
    if (tools.required && !tools.called) {
        throw std::invalid_argument("tool_choice must be none, auto, required, or a function that tools names");
    }
    return tools;
}

// Returns a call in words, as a model is asked to write it; tool_calls.py has the same.
std::string in_words(const json & call) {
    const json function  = json_value(call, "function", json::object());
    json       arguments = json_value(function, "arguments", json());
    if (arguments.is_string()) {
        try {
            arguments = json::parse(arguments.get<std::string>());
        } catch (const std::exception &) {
            // it stays the text that it is
        }
    }
    json said = json::object();
    said["name"]      = json_value(function, "name", std::string());
    said["arguments"] = arguments;
    return said.dump();
}

std::string text_of(const json & message) {
    const json content = json_value(message, "content", json());
    if (content.is_string()) {
        return content.get<std::string>();
    }
    std::string text;
    for (const auto & part : content.is_array() ? content : json::array()) {
        text += json_value(part, "text", std::string());
    }
    return text;
}

// Puts into words what a chat template does not know: calls, what tools found, and which tools there are.
void put_in_words(json & body, const Tools & tools) {
    json messages = json::array();
    for (const auto & given : body.at("messages")) {
        json message = given;
        const json calls = json_value(message, "tool_calls", json());
        if (calls.is_array() && !calls.empty()) {
            std::string text = text_of(message);
            for (const auto & call : calls) {
                text += (text.empty() ? "" : "\n") + in_words(call);
            }
            message["content"] = text;
            message.erase("tool_calls");
        }
        const std::string role = json_value(message, "role", std::string());
        if (role == "tool" || role == "function") {
            const std::string text = "Result: " + text_of(message);
            json * const      last = messages.empty() ? nullptr : &messages.back();
            if (last != nullptr && json_value(*last, "role", std::string()) == "user" && text_of(*last).rfind("Result: ", 0) == 0) {
                (*last)["content"] = text_of(*last) + "\n" + text;
                continue;
            }
            message            = json::object();
            message["role"]    = "user";
            message["content"] = text;
        }
        messages.push_back(message);
    }
    if (tools.called) {
        std::string told = "You may call these functions, which are described as JSON:\n";
        for (const auto & tool : tools.listed) {
            told += tool.at("function").dump() + "\n";
        }
        told += "To call one, answer with nothing but {\"name\": its name, \"arguments\": an object}.";
        const bool has_system = !messages.empty() && json_value(messages.at(0), "role", std::string()) == "system";
        if (has_system) {
            messages.at(0)["content"] = text_of(messages.at(0)) + "\n\n" + told;
        } else {
            json system        = json::object();
            system["role"]     = "system";
            system["content"]  = told;
            json with = json::array();
            with.push_back(system);
            for (const auto & message : messages) {
                with.push_back(message);
            }
            messages = with;
        }
    }
    body["messages"] = messages;
    body.erase("tools");
    body.erase("tool_choice");
}

// Returns the JSON Schema of one call of one of the tools; tool_calls.py has the same.
json call_schema(const json & tools) {
    json calls = json::array();
    for (const auto & tool : tools) {
        json any      = json::object();
        any["type"]   = "object";
        json name     = json::object();
        name["const"] = tool.at("function").at("name");
        json properties         = json::object();
        properties["name"]      = name;
        properties["arguments"] = json_value(tool.at("function"), "parameters", any);
        json required = json::array();
        required.push_back("name");
        required.push_back("arguments");
        json call                    = json::object();
        call["type"]                 = "object";
        call["properties"]           = properties;
        call["required"]             = required;
        call["additionalProperties"] = false;
        calls.push_back(call);
    }
    json schema     = json::object();
    schema["anyOf"] = calls;
    return schema;
}

// Returns what the server is asked where the template knows nothing of tools: an answer that is a call becomes one, and where
// a call is required, a grammar holds it.
json ask_in_words(json & body, const Tools & tools, const server_chat_params & options, std::vector<raw_buffer> & files) {
    put_in_words(body, tools);
    json asked = real_chat_params(body, options, files);
    if (!tools.called) {
        return asked;
    }
    const auto parser = build_chat_peg_parser([&](common_chat_peg_builder & p) {
        const auto calls = p.space() + p.standard_json_tools("", "", tools.listed, false, true) + p.space() + p.end();
        return tools.required ? calls : p.choice({ calls, p.content(p.rest()) + p.end() });
    });
    asked["chat_format"]       = static_cast<int>(COMMON_CHAT_FORMAT_PEG_NATIVE);
    asked["chat_parser"]       = parser.save();
    asked["parse_tool_calls"]  = true;
    asked["generation_prompt"] = "";
    if (tools.required) {
        asked["grammar"]      = json_schema_to_grammar(call_schema(tools.listed));  // the parser's own would allow spaces without end
        asked["grammar_lazy"] = false;
        asked.erase("grammar_type");
    }
    return asked;
}

}  // namespace

json wrap_chat_params(json & body, const server_chat_params & options, std::vector<raw_buffer> & files) {
    add_system(body);
    const Tools tools    = choose_tools(body);
    if (!tools.called) {
        hold_to_contract(body);
    }
    const auto  caps     = common_chat_templates_get_caps(options.tmpls.get());
    const auto  known    = caps.find("supports_tool_calls");
    const bool  in_words = !options.use_jinja || known == caps.end() || !known->second;
    if (in_words && body.contains("messages") && body.at("messages").is_array()) {
        if (tools.called) {
            return ask_in_words(body, tools, options, files);
        }
        put_in_words(body, tools);
    }
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
