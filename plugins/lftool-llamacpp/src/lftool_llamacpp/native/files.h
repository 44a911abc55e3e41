// Files that are closed when their owner goes.
#pragma once

#include <cstdio>
#include <memory>
#include <utility>

#include <unistd.h>

namespace lftool {

struct CloseFile {
    void operator()(FILE * file) const { fclose(file); }
};

using File = std::unique_ptr<FILE, CloseFile>;

// A file descriptor, or none (-1).
class Descriptor {
  public:
    explicit Descriptor(int number = -1) : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) {
            close(number_);
        }
    }
    Descriptor(Descriptor && other) noexcept : number_(other.release()) {}
    Descriptor & operator=(Descriptor && other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    Descriptor(const Descriptor &)             = delete;
    Descriptor & operator=(const Descriptor &) = delete;

    int get() const { return number_; }
    explicit operator bool() const { return number_ >= 0; }

    // Gives the descriptor away.
    int release() { return std::exchange(number_, -1); }

  private:
    int number_;
};

}  // namespace lftool
