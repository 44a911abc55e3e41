// The bundle that this executable is the prefix of, or that it was given: where its contents lie in the file.
#pragma once

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

struct llama_model;

namespace lftool {

// Paths by which llama.cpp asks for contents of the bundle; no file has such a name.
extern const char * const WEIGHTS;
extern const char * const ADAPTER;

struct Problem : std::runtime_error {
    Problem(int exit_code, const std::string & message) : std::runtime_error(message), exit_code(exit_code) {}
    int exit_code;
};

struct Content {
    std::string path;
    std::string role;
    std::string sha256;
    uint64_t    offset;
    uint64_t    size;
};

class Bundle {
  public:
    // Takes over an open file. Throws Problem unless an lftool bundle ends it.
    Bundle(int descriptor, const std::string & name);

    const Content * find(const std::string & role) const;

    // Returns a stream of its own that stands at the first byte of a content.
    FILE * open(const Content & content) const;

    // Returns a descriptor of an anonymous file in memory with the bytes of a content.
    int copy_to_memory(const Content & content) const;

    // Returns the paths of contents whose digest is not the one in the manifest.
    std::vector<std::string> differing() const;

    std::string    name;
    nlohmann::json contract;
    std::string    title;

  private:
    void read(void * into, uint64_t size, uint64_t offset) const;
    void read_manifest();

    int                  descriptor_;
    uint64_t             size_;
    std::vector<Content> contents_;
};

// The bundle of this process, for the functions that take llama.cpp's place; set once by main().
extern Bundle * own;

// Returns the model that was loaded from the bundle's weights; null before that.
const llama_model * loaded_model();

}  // namespace lftool
