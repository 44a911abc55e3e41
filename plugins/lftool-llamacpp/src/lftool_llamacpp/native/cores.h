// How many cores this process may keep busy.
#pragma once

#include <string>

namespace lftool {

// Returns the number of processors it may run on, or what the quota of its control groups amounts to where that is less; at
// least 1. `root` stands before /proc and /sys.
int usable_cores(const std::string & root = "");

}  // namespace lftool
