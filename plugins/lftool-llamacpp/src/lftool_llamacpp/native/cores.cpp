#include "cores.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <thread>

#include <sched.h>

namespace lftool {

namespace {

int allowed_processors() {
    for (size_t most = 1024; most <= 1 << 16; most *= 4) {  // the kernel refuses a set that is too small for its own
        cpu_set_t *  set   = CPU_ALLOC(most);
        const size_t bytes = CPU_ALLOC_SIZE(most);
        const bool   known = sched_getaffinity(0, bytes, set) == 0;
        const int    count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) {
            return count;
        }
    }
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Returns how many processors' time a group may take, rounded up; 0 for all. Version 2 has both numbers in cpu.max, version 1
// a file for each (cgroups(7), the kernel's admin-guide/cgroup-v2 and scheduler/sched-bwc).
int quota(const std::string & group, bool second) {
    std::ifstream file(group + (second ? "/cpu.max" : "/cpu.cfs_quota_us"));
    long long     most = 0, period = 0;
    if (!(file >> most)) {
        return 0;  // no such file, or the word max
    }
    if (second) {
        file >> period;
    } else {
        std::ifstream(group + "/cpu.cfs_period_us") >> period;
    }
    return most > 0 && period > 0 ? static_cast<int>(std::min<long long>((most + period - 1) / period, 1 << 16)) : 0;
}

}  // namespace

int usable_cores(const std::string & root) {
    int           count = allowed_processors();
    std::ifstream groups(root + "/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {  // number:controllers:path
        std::istringstream parts(line);
        std::string        number, controllers, path;
        std::getline(parts, number, ':');
        std::getline(parts, controllers, ':');
        std::getline(parts, path);
        const bool second = controllers.empty();
        if (!second && ("," + controllers + ",").find(",cpu,") == std::string::npos) {
            continue;
        }
        const std::string mount = root + (second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controllers);
        // A group has no more than those around it. In a container the path may be one of outside, and the mount its own group.
        for (;; path.erase(path.rfind('/'))) {
            const int most = quota(mount + path, second);
            count          = most > 0 ? std::min(count, most) : count;
            if (path.find('/') == std::string::npos) {
                break;
            }
        }
    }
    return count;
}

}  // namespace lftool
