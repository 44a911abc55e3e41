// A client's URL would have the server fetch whatever it can reach: upstream does so for images, audio and video, in chats and
// for embeddings, also where it is started with --offline. Here nothing is fetched, whoever asks.
#include <stdexcept>

#include "download.h"
#include "wrap.h"

using Fetched = std::pair<long, std::vector<char>>;

Fetched wrap_fetch(const std::string & url, const common_remote_params & params) LFTOOL_OURS(LFTOOL_FETCH);

Fetched wrap_fetch(const std::string &, const common_remote_params &) {
    throw std::invalid_argument("media must come with the request, as data: URLs; this server fetches nothing");
}
