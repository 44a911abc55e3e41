// A conversation in the terminal.
#pragma once

#include "conversation.h"

namespace lftool {

// Talks until the input ends; returns the exit status.
int chat(Conversation & conversation, bool stats);

}  // namespace lftool
