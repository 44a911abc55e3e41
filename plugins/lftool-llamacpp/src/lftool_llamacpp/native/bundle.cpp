#include "bundle.h"

#include <cerrno>
#include <cstring>
#include <map>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

extern "C" {
#include "hash/sha256/sha256.h"
}

namespace lftool {

const char * const WEIGHTS = "lftool:weights";
const char * const ADAPTER = "lftool:adapter";

Bundle * own = nullptr;

namespace {

constexpr uint64_t MOST_DIRECTORY = 16 << 20;  // of a bundle with thousands of members
constexpr uint64_t PIECE          = 1 << 20;
constexpr int      MOST_DEPTH     = 32;

template <typename T> T number(const unsigned char * at) {
    T value = 0;
    for (size_t i = sizeof(T); i-- > 0;) {
        value = static_cast<T>(value << 8 | at[i]);
    }
    return value;
}

}  // namespace

Bundle::Bundle(int descriptor, const std::string & name) : name(name), descriptor_(descriptor) {
    struct stat status;
    if (fstat(descriptor_, &status) != 0 || status.st_size < 98) {
        throw Problem(4, "not an lftool bundle");
    }
    size_ = static_cast<uint64_t>(status.st_size);
    read_manifest();
}

void Bundle::read(void * into, uint64_t size, uint64_t offset) const {
    char * at = static_cast<char *>(into);
    if (offset > size_ || size > size_ - offset) {
        throw Problem(4, "the file is cut off, or is no lftool bundle");
    }
    while (size > 0) {
        const ssize_t got = pread(descriptor_, at, size, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            throw Problem(4, std::string("cannot be read: ") + (got < 0 ? strerror(errno) : "it ends early"));
        }
        at += got;
        offset += static_cast<uint64_t>(got);
        size -= static_cast<uint64_t>(got);
    }
}

// The directory has one form (docs/reference/format.md), so the few fields that are needed are read where they stand.
void Bundle::read_manifest() {
    unsigned char tail[98];
    read(tail, sizeof(tail), size_ - sizeof(tail));
    uint64_t length = number<uint32_t>(tail + 88), start = number<uint32_t>(tail + 92);
    if (memcmp(tail, "PK\6\6", 4) == 0) {
        length = number<uint64_t>(tail + 40);
        start  = number<uint64_t>(tail + 48);
    }
    if (memcmp(tail + 76, "PK\5\6", 4) != 0 || length > MOST_DIRECTORY) {
        throw Problem(4, "not an lftool bundle");
    }
    std::vector<unsigned char> directory(length);
    read(directory.data(), length, start);
    std::map<std::string, std::pair<uint64_t, uint64_t>> found;
    for (size_t at = 0; at + 46 <= length && memcmp(&directory[at], "PK\1\2", 4) == 0;) {
        const unsigned char * entry = &directory[at];
        uint64_t     size = number<uint32_t>(entry + 24), offset = number<uint32_t>(entry + 42);
        const size_t names = number<uint16_t>(entry + 28), extras = number<uint16_t>(entry + 30);
        if (at + 46 + names + extras > length) {
            throw Problem(4, "its directory is damaged");
        }
        const unsigned char * extra = entry + 46 + names;
        if (offset == 0xFFFFFFFF && extras >= 12) {
            offset = number<uint64_t>(extra + extras - 8);
        }
        if (size == 0xFFFFFFFF && extras >= 12) {
            size = number<uint64_t>(extra + 4);
        }
        unsigned char lengths[4];
        read(lengths, sizeof(lengths), offset + 26);
        offset += 30 + number<uint16_t>(lengths) + number<uint16_t>(lengths + 2);
        found[std::string(reinterpret_cast<const char *>(entry + 46), names)] = { offset, size };
        at += 46 + names + extras;
    }
    const auto place = found.find("lftool/bundle.json");
    if (place == found.end() || place->second.second > MOST_DIRECTORY) {
        throw Problem(4, "not an lftool bundle");
    }
    std::string text(place->second.second, '\0');
    read(&text[0], text.size(), place->second.first);
    try {
        // Values are copied by functions that call themselves: no more than a stack holds.
        const auto shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json &) {
            if (depth > MOST_DEPTH) {
                throw Problem(4, "its manifest is nested too deeply");
            }
            return true;
        };
        const nlohmann::json manifest = nlohmann::json::parse(text, shallow);
        contract = manifest.value("run", nlohmann::json::object());
        title    = manifest.at("name").get<std::string>();
        const auto & prefix = manifest.at("prefix");
        const bool   gguf   = prefix.at("role") == "gguf";
        contents_.push_back({ gguf ? "model.gguf" : "runtime", gguf ? "weights" : "runtime",
                              prefix.at("sha256"), 0, prefix.at("size") });
        for (const auto & member : manifest.at("members")) {
            const auto at = found.find(member.at("path").get<std::string>());
            if (at == found.end()) {
                throw Problem(4, "has no member " + member.at("path").get<std::string>());
            }
            contents_.push_back({ at->first, member.at("role"), member.at("sha256"), at->second.first, member.at("size") });
        }
    } catch (const nlohmann::json::exception & error) {
        throw Problem(4, std::string("its manifest cannot be read: ") + error.what());
    }
}

const Content * Bundle::find(const std::string & role) const {
    for (const Content & content : contents_) {
        if (content.role == role) {
            return &content;
        }
    }
    return nullptr;
}

FILE * Bundle::open(const Content & content) const {
    // A descriptor of its own has its own position; where /proc is not mounted, one position does for all.
    const std::string path = "/proc/self/fd/" + std::to_string(descriptor_);
    int               copy = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (copy < 0) {
        copy = fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
    }
    FILE * file = copy < 0 ? nullptr : fdopen(copy, "rb");
    if (file == nullptr || fseeko(file, static_cast<off_t>(content.offset), SEEK_SET) != 0) {
        throw Problem(1, "cannot be opened again: " + std::string(strerror(errno)));
    }
    return file;
}

int Bundle::copy_to_memory(const Content & content) const {
    const int memory = memfd_create(content.path.c_str(), MFD_CLOEXEC);
    if (memory < 0) {
        throw Problem(1, "no memory for " + content.path + ": " + strerror(errno));
    }
    std::vector<char> piece(PIECE);
    for (uint64_t done = 0; done < content.size;) {
        const uint64_t count = std::min(PIECE, content.size - done);
        read(piece.data(), count, content.offset + done);
        for (uint64_t written = 0; written < count;) {
            const ssize_t put = write(memory, piece.data() + written, count - written);
            if (put < 0 && errno != EINTR) {
                throw Problem(1, "no memory for " + content.path + ": " + strerror(errno));
            }
            written += put < 0 ? 0 : static_cast<uint64_t>(put);
        }
        done += count;
    }
    return memory;
}

std::vector<std::string> Bundle::differing() const {
    std::vector<std::string>   wrong;
    std::vector<unsigned char> piece(PIECE);
    for (const Content & content : contents_) {
        sha256_t state;
        sha256_init(&state);
        bool whole = content.offset <= size_ && content.size <= size_ - content.offset;
        for (uint64_t done = 0; whole && done < content.size;) {
            const uint64_t count = std::min(PIECE, content.size - done);
            read(piece.data(), count, content.offset + done);
            sha256_update(&state, piece.data(), count);
            done += count;
        }
        unsigned char digest[SHA256_DIGEST_SIZE];
        sha256_final(&state, digest);
        std::string hex;
        for (const unsigned char byte : digest) {
            char two[3];
            snprintf(two, sizeof(two), "%02x", byte);
            hex += two;
        }
        if (!whole || hex != content.sha256) {
            wrong.push_back(content.path);
        }
    }
    return wrong;
}

}  // namespace lftool
