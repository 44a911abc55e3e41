// Levels of the x86-64 ABI: the executable for the oldest carries those for newer processors.
#pragma once

namespace lftool {

// What this code was compiled for, such as x86-64-v3.
const char * level();

// Goes on as the executable for this machine's processor, if there is a better one than this; returns if there is not. The
// variable LFTOOL_CPU holds it back; throws Problem with exit code 2 if that names no level.
void go_on_at_best_level(int bundle, char ** argv);

// Returns the descriptor of the bundle that `go_on_at_best_level` handed over; -1 if it did not.
int handed_over();

}  // namespace lftool
