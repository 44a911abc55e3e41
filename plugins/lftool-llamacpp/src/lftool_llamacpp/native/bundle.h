// The bundle that this executable is the prefix of, or that it was given: where its contents lie in the file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "files.h"
#include "problem.h"

struct llama_model;

namespace lftool {

// Paths by which llama.cpp asks for contents of the bundle; no file has such a name.
extern const char * const WEIGHTS;
extern const char * const ADAPTER;

struct Content {
    std::string path;
    std::string role;
    std::string sha256;
    uint64_t    offset;
    uint64_t    size;
};

class Bundle {
  public:
    // Takes over an open file. Throws Problem unless it is a bundle, or a GGUF.
    Bundle(Descriptor file, const std::string & name);
    Bundle(const Bundle &)             = delete;
    Bundle & operator=(const Bundle &) = delete;

    // Returns null where there is none.
    const Content * find(const std::string & role) const;

    // Throws Problem with exit code 4 where there is none.
    const Content & content(const std::string & role) const;

    // Returns a stream of its own that stands at the first byte of a content.
    File open(const Content & content) const;

    // Returns an anonymous file in memory with the bytes of a content.
    Descriptor copy_to_memory(const Content & content) const;

    // Returns the paths of contents whose digest is not the one in the manifest.
    std::vector<std::string> differing() const;

    std::string    name;
    nlohmann::json contract;
    std::string    title;
    std::string    version;

  private:
    void read(void * into, uint64_t size, uint64_t offset) const;
    bool unpacked();
    void read_manifest();

    Descriptor           file_;
    uint64_t             size_;
    std::vector<Content> contents_;
};

// The bundle of this process, for the functions that take llama.cpp's place. Throws std::logic_error before `set_own`.
const Bundle & own();

// Called once, by main(); the bundle lives as long as the process.
void set_own(const Bundle & bundle);

// Returns the model that was loaded from the bundle's weights; null before that.
const llama_model * loaded_model();

}  // namespace lftool
