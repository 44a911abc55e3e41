#include "bundle.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zip.h"

extern "C" {
#include "hash/sha256/sha256.h"
}

namespace lftool {

const char * const WEIGHTS = "lftool:weights";
const char * const ADAPTER = "lftool:adapter";

namespace {

constexpr uint64_t MOST_MANIFEST = 16 << 20;
constexpr uint64_t PIECE         = 1 << 20;
constexpr int      MOST_DEPTH    = 32;

const Bundle * own_bundle = nullptr;

}  // namespace

const Bundle & own() {
    if (own_bundle == nullptr) {
        throw std::logic_error("no bundle is open");
    }
    return *own_bundle;
}

void set_own(const Bundle & bundle) {
    own_bundle = &bundle;
}

Bundle::Bundle(Descriptor file, const std::string & name) : name(name), file_(std::move(file)) {
    struct stat status;
    if (fstat(file_.get(), &status) != 0) {
        throw Problem(4, "not an lftool bundle");
    }
    size_    = static_cast<uint64_t>(status.st_size);
    contract = nlohmann::json::object();
    if (!unpacked()) {
        read_manifest();
    }
}

void Bundle::read(void * into, uint64_t size, uint64_t offset) const {
    char * at = static_cast<char *>(into);
    if (offset > size_ || size > size_ - offset) {
        throw Problem(4, "the file is cut off, or is no lftool bundle");
    }
    while (size > 0) {
        const ssize_t got = pread(file_.get(), at, size, static_cast<off_t>(offset));
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

// Of a GGUF that is no bundle all is weights, and nothing says what its bytes must be.
bool Bundle::unpacked() {
    char                magic[4] = {};
    char                end[4]   = {};
    constexpr uint64_t  END_SIZE = 22;  // of the end of a ZIP archive without a comment
    if (size_ < END_SIZE) {
        return false;
    }
    read(magic, sizeof magic, 0);
    read(end, sizeof end, size_ - END_SIZE);
    if (memcmp(magic, "GGUF", sizeof magic) != 0 || memcmp(end, "PK\5\6", sizeof end) == 0) {
        return false;
    }
    title = name.size() > 5 && name.compare(name.size() - 5, 5, ".gguf") == 0 ? name.substr(0, name.size() - 5) : name;
    contents_.push_back({ "model.gguf", "weights", "", 0, size_ });
    return true;
}

void Bundle::read_manifest() {
    const auto found = read_directory(size_, [this](void * into, uint64_t size, uint64_t offset) { read(into, size, offset); });
    const auto place = found.find("lftool/bundle.json");
    if (place == found.end() || place->second.size > MOST_MANIFEST) {
        throw Problem(4, "not an lftool bundle");
    }
    std::string text(place->second.size, '\0');
    read(text.data(), text.size(), place->second.offset);
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
        version  = manifest.value("version", "");
        const auto & prefix = manifest.at("prefix");
        const bool   gguf   = prefix.at("role") == "gguf";
        contents_.push_back({ gguf ? "model.gguf" : "runtime", gguf ? "weights" : "runtime",
                              prefix.at("sha256"), 0, prefix.at("size") });
        for (const auto & member : manifest.at("members")) {
            const auto at = found.find(member.at("path").get<std::string>());
            if (at == found.end()) {
                throw Problem(4, "has no member " + member.at("path").get<std::string>());
            }
            contents_.push_back({ at->first, member.at("role"), member.at("sha256"), at->second.offset, member.at("size") });
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

const Content & Bundle::content(const std::string & role) const {
    const Content * found = find(role);
    if (found == nullptr) {
        throw Problem(4, "the bundle has no " + role);
    }
    return *found;
}

File Bundle::open(const Content & content) const {
    // A descriptor of its own has its own position; where /proc is not mounted, one position does for all.
    const std::string path = "/proc/self/fd/" + std::to_string(file_.get());
    Descriptor        copy(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!copy) {
        copy = Descriptor(fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
    }
    File stream(copy ? fdopen(copy.get(), "rb") : nullptr);
    if (stream) {
        copy.release();  // it is the stream's
    }
    if (!stream || fseeko(stream.get(), static_cast<off_t>(content.offset), SEEK_SET) != 0) {
        throw Problem(1, "cannot be opened again: " + std::string(strerror(errno)));
    }
    return stream;
}

Descriptor Bundle::copy_to_memory(const Content & content) const {
    Descriptor memory(memfd_create(content.path.c_str(), MFD_CLOEXEC));
    if (!memory) {
        throw Problem(1, "no memory for " + content.path + ": " + strerror(errno));
    }
    std::vector<char> piece(PIECE);
    for (uint64_t done = 0; done < content.size;) {
        const uint64_t count = std::min(PIECE, content.size - done);
        read(piece.data(), count, content.offset + done);
        for (uint64_t written = 0; written < count;) {
            const ssize_t put = write(memory.get(), piece.data() + written, count - written);
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
