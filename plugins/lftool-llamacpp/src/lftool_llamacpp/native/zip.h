// The directory of a ZIP archive (PKWARE's APPNOTE.TXT 6.3.10), as bundles have it: docs/reference/bundle-format.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace lftool {

// Where the bytes of a stored member lie in the file.
struct Place {
    uint64_t offset;
    uint64_t size;
};

// Reads `size` bytes at `offset` of the archive; throws Problem where there are fewer.
using ReadAt = std::function<void(void * into, uint64_t size, uint64_t offset)>;

// Returns the members of an archive of `size` bytes that ends without a comment. Places may lie behind its end. Throws Problem
// with exit code 4 where the archive is damaged, or is none.
std::map<std::string, Place> read_directory(uint64_t size, const ReadAt & read);

}  // namespace lftool
