// What a server answers besides llama-server: the chat page, what the page tells of the bundle, and one model by its name.
#pragma once

#include <cstdint>

#include "bundle.h"
#include "kind.h"

namespace httplib {
struct Request;
struct Response;
}  // namespace httplib

namespace lftool {

// From now on the server tells of this bundle. `does` is what it was started for.
void introduce(const Bundle & bundle, Does does, int64_t context);

// Answers a request for a file of the page, for which nobody needs a key; returns whether it was one.
bool answer_page(const httplib::Request & request, httplib::Response & response);

// Answers a request that llama-server has no answer to, from a client that may ask; returns whether it was one.
bool answer_besides(const httplib::Request & request, httplib::Response & response);

}  // namespace lftool
