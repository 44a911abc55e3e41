// Bundles that are nearly right, for native/bundle.cpp and zip.cpp: each is read, or refused with a Problem.
//
// With clang's libFuzzer (-fsanitize=fuzzer, -DLFTOOL_LIBFUZZER) it decides what to try. Otherwise main() changes the files that
// it is given: `bundle_fuzzer COUNT FILE…` prints how many were read and how many refused.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "bundle.h"

namespace {

// Returns whether a bundle is read: its contents are opened, compared and copied.
bool is_read(const uint8_t * data, size_t size) {
    lftool::Descriptor file(memfd_create("bundle", MFD_CLOEXEC));
    for (size_t done = 0; done < size;) {
        const ssize_t put = write(file.get(), data + done, size - done);
        if (put < 0) {
            abort();
        }
        done += static_cast<size_t>(put);
    }
    try {
        const lftool::Bundle bundle(std::move(file), "bundle");
        bundle.differing();
        const lftool::Content & weights = bundle.content("weights");
        unsigned char           first[4];
        const lftool::File      stream = bundle.open(weights);
        if (fread(first, 1, sizeof(first), stream.get()) == sizeof(first)) {
            bundle.copy_to_memory(weights);
        }
        return true;
    } catch (const lftool::Problem &) {
        return false;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size) {
    is_read(data, size);
    return 0;
}

#ifndef LFTOOL_LIBFUZZER

namespace {

uint64_t state = 88172645463325252u;

uint64_t random_below(uint64_t most) {  // xorshift64: the same changes in every run
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % most;
}

const uint64_t INTERESTING[] = { 0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF };

// Changes a little near the end, where directory and manifest lie; now and then anywhere, or the length.
void change(std::vector<uint8_t> & bytes) {
    for (uint64_t changes = 1 + random_below(3); changes > 0 && bytes.size() > 8; changes--) {
        const size_t within = random_below(4) == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 4096);
        const size_t width  = size_t(1) << random_below(4);
        const size_t at     = bytes.size() - 1 - random_below(within);
        if (random_below(16) == 0) {
            bytes.resize(at);
        } else if (at + width <= bytes.size()) {
            const uint64_t value = random_below(2) == 0 ? INTERESTING[random_below(std::size(INTERESTING))] : random_below(256);
            memcpy(&bytes[at], &value, width);
        }
    }
}

}  // namespace

int main(int argc, char ** argv) {
    int read = 0, refused = 0;
    for (int i = 2; i < argc; i++) {
        std::ifstream              file(argv[i], std::ios::binary);
        const std::vector<uint8_t> whole{ std::istreambuf_iterator<char>(file), {} };
        for (int count = 0; count <= atoi(argv[1]); count++) {
            std::vector<uint8_t> bytes = whole;
            if (count > 0) {
                change(bytes);
            }
            (is_read(bytes.data(), bytes.size()) ? read : refused)++;
        }
    }
    printf("%d read, %d refused\n", read, refused);
}

#endif
