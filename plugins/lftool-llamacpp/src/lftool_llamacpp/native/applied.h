// What of the run contract is applied here, and by what: options of llama.cpp, or functions of ours in its place.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

struct llama_model;

namespace lftool {

// Throws Problem with exit code 8 where a contract says what is not applied here.
void check_contract(const nlohmann::json & contract);

// Returns llama.cpp's options for the KV cache and for positions.
std::vector<std::string> context_arguments(const nlohmann::json & contract);

// Returns llama.cpp's options for what answers are held to.
std::vector<std::string> grammar_arguments(const nlohmann::json & contract);

// Has the tokens that the contract names end an answer, as the model's own do. Throws Problem where the vocabulary has not
// got one.
void end_at(const llama_model * model, const nlohmann::json & contract);

}  // namespace lftool
