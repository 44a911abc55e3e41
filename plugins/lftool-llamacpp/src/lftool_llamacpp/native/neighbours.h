// How many threads leave room for whoever else is busy on these cores.
#pragma once

#include <string>

namespace lftool {

// What the cores that this process may run on have done, and this process of it; in seconds since some time in the past.
struct Work {
    double at   = 0;      // when
    double all  = 0;      // of all processes
    double own  = 0;      // of this one
    int    cores = 0;     // how many there are; 0: not known
};

// Reads /proc/stat; `root` stands before /proc.
Work work_done(const std::string & root = "");

// Returns how many of `most` threads find a core that is free between two looks: at least 1.
int threads_beside(const Work & before, const Work & after, int most);

// Returns how many find one now, by how many threads of the system are running (/proc/loadavg).
int threads_at_once(int cores, int most, const std::string & root = "");

// From now on evaluations use up to `most` threads, fewer while others are busy. Returns how many to begin with.
int share_cores(int most);

}  // namespace lftool
