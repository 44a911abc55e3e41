// Who may ask a server: keys, addresses, and pages of other sites.
#pragma once

#include <string>

namespace lftool {

// Returns whether only this machine can reach an address: one of IPv4's 127.0.0.0/8, ::1, or the name localhost.
bool is_loopback(const std::string & host);

// Throws Problem with exit code 2: a list of addresses, which llama-server would take for several.
void check_host(const std::string & host);

// Throws Problem with exit code 2: a key that no client can send, or that llama-server would take for several.
void check_key(const std::string & key);

// From now on, requests that come from a page of another site, or by another name of this machine, are refused.
void refuse_other_sites();

// From now on, no client may change the scales of adapters.
void close_adapters();

}  // namespace lftool
