// Whether an exception can be thrown where we are.
#pragma once

namespace lftool {

// Returns whether a std::runtime_error that is thrown in the caller would be caught. It would not where a function promises to
// throw nothing, as destructors do: it would end the process.
bool can_throw();

}  // namespace lftool
