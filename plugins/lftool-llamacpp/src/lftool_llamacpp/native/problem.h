// What a bundle ends with: an exit code, as `lftool help exit-codes` lists them, and a message.
#pragma once

#include <stdexcept>
#include <string>

namespace lftool {

struct Problem : std::runtime_error {
    Problem(int exit_code, const std::string & message) : std::runtime_error(message), exit_code(exit_code) {}
    int exit_code;
};

}  // namespace lftool
