#include "zip.h"

#include <cstddef>
#include <cstring>
#include <vector>

#include "problem.h"

namespace lftool {

namespace {

constexpr uint64_t MOST_DIRECTORY = 16 << 20;  // of a bundle with thousands of members
constexpr uint32_t IN_EXTRA       = 0xFFFFFFFF;  // a number that stands in the ZIP64 extra field

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the numbers of a ZIP archive are read as they lie");

#pragma pack(push, 1)

struct Entry {  // 4.3.12
    char     signature[4];
    uint16_t made_by, needed, flags, method, time, date;
    uint32_t crc, packed_size, size;
    uint16_t name_length, extra_length, comment_length, disk, internal;
    uint32_t external, offset;
};

struct LocalHeader {  // 4.3.7
    char     signature[4];
    uint16_t needed, flags, method, time, date;
    uint32_t crc, packed_size, size;
    uint16_t name_length, extra_length;
};

struct EndOfDirectory64 {  // 4.3.14
    char     signature[4];
    uint64_t record_size;
    uint16_t made_by, needed;
    uint32_t disk, first_disk;
    uint64_t entries_here, entries, directory_size, directory_offset;
};

struct Locator64 {  // 4.3.15
    char     signature[4];
    uint32_t disk;
    uint64_t offset;
    uint32_t disks;
};

struct EndOfDirectory {  // 4.3.16
    char     signature[4];
    uint16_t disk, first_disk, entries_here, entries;
    uint32_t directory_size, directory_offset;
    uint16_t comment_length;
};

struct Tail {  // the end of an archive without a comment
    EndOfDirectory64 end64;
    Locator64        locator;
    EndOfDirectory   end;
};

struct Extra64 {  // 4.5.3, before one or two numbers
    uint16_t tag, size;
};

#pragma pack(pop)

static_assert(sizeof(Entry) == 46 && sizeof(LocalHeader) == 30 && sizeof(EndOfDirectory64) == 56 && sizeof(Locator64) == 20 &&
              sizeof(EndOfDirectory) == 22 && sizeof(Tail) == 98);

template <typename Fields> Fields fields_at(const unsigned char * from) {
    Fields fields;
    memcpy(&fields, from, sizeof(fields));
    return fields;
}

bool is_signed(const char (&signature)[4], const char * wanted) {
    return memcmp(signature, wanted, sizeof(signature)) == 0;
}

// Returns where the member of an entry lies; `extra` is the entry's extra field.
Place place_of(const Entry & entry, const unsigned char * extra, const ReadAt & read) {
    Place        place{ entry.offset, entry.size };
    const size_t numbers = sizeof(uint64_t);
    if (entry.extra_length >= sizeof(Extra64) + numbers) {
        if (entry.offset == IN_EXTRA) {
            place.offset = fields_at<uint64_t>(extra + entry.extra_length - numbers);  // the last of them
        }
        if (entry.size == IN_EXTRA) {
            place.size = fields_at<uint64_t>(extra + sizeof(Extra64));  // the first
        }
    }
    LocalHeader header;
    read(&header, sizeof(header), place.offset);
    place.offset += sizeof(header) + header.name_length + header.extra_length;
    return place;
}

}  // namespace

std::map<std::string, Place> read_directory(uint64_t size, const ReadAt & read) {
    Tail tail;
    if (size < sizeof(tail)) {
        throw Problem(4, "not an lftool bundle");
    }
    read(&tail, sizeof(tail), size - sizeof(tail));
    const bool     wide   = is_signed(tail.end64.signature, "PK\6\6");
    const uint64_t length = wide ? tail.end64.directory_size : tail.end.directory_size;
    const uint64_t start  = wide ? tail.end64.directory_offset : tail.end.directory_offset;
    if (!is_signed(tail.end.signature, "PK\5\6") || length > MOST_DIRECTORY) {
        throw Problem(4, "not an lftool bundle");
    }
    std::vector<unsigned char> directory(length);
    read(directory.data(), length, start);
    std::map<std::string, Place> found;
    for (size_t at = 0; at + sizeof(Entry) <= length;) {
        const auto entry = fields_at<Entry>(&directory[at]);
        if (!is_signed(entry.signature, "PK\1\2")) {
            break;
        }
        const size_t whole = sizeof(entry) + entry.name_length + entry.extra_length;
        if (whole > length - at) {
            throw Problem(4, "its directory is damaged");
        }
        const unsigned char * name = directory.data() + at + sizeof(entry);
        found[std::string(reinterpret_cast<const char *>(name), entry.name_length)] = place_of(entry, name + entry.name_length, read);
        at += whole;
    }
    return found;
}

}  // namespace lftool
