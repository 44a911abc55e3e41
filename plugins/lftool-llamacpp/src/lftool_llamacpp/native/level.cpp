#include "level.h"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files.h"
#include "problem.h"

#ifndef MFD_EXEC
#    define MFD_EXEC 0x0010U
#endif

namespace lftool {

const char * level() {
    return LFTOOL_LEVEL;
}

#ifdef LFTOOL_HAS_LEVELS

// levels.S
extern "C" const unsigned char lftool_v3[], lftool_v3_end[], lftool_v4[], lftool_v4_end[];

namespace {

bool write_all(int file, const unsigned char * from, const unsigned char * end) {
    while (from < end) {
        const ssize_t put = write(file, from, static_cast<size_t>(end - from));
        if (put < 0 && errno != EINTR) {
            return false;
        }
        from += put < 0 ? 0 : put;
    }
    return true;
}

void execute(const char * name, const unsigned char * from, const unsigned char * end, int bundle, char ** argv) {
    Descriptor file(memfd_create(name, MFD_CLOEXEC | MFD_EXEC));
    if (!file) {
        file = Descriptor(memfd_create(name, MFD_CLOEXEC));  // before Linux 6.3 the other flag is unknown
    }
    const auto before  = signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error like others
    const bool written = file && write_all(file.get(), from, end);
    signal(SIGXFSZ, before);
    if (written) {
        fcntl(bundle, F_SETFD, 0);
        setenv("LFTOOL_NATIVE_BUNDLE", std::to_string(bundle).c_str(), 1);
        fexecve(file.get(), argv, environ);
        unsetenv("LFTOOL_NATIVE_BUNDLE");
    }
    fprintf(stderr, "%s code cannot be started from memory (%s); going on with %s\n", name, strerror(errno), level());
}

}  // namespace

void go_on_at_best_level(int bundle, char ** argv) {
    const char *      variable = getenv("LFTOOL_CPU");
    const std::string most     = variable == nullptr || *variable == '\0' ? "x86-64-v4" : variable;
    if (most != "x86-64-v1" && most != "x86-64-v3" && most != "x86-64-v4") {
        throw Problem(2, "LFTOOL_CPU is '" + most + "': x86-64-v1, x86-64-v3 or x86-64-v4 can be asked for");
    }
    __builtin_cpu_init();
    if (most >= "x86-64-v4" && __builtin_cpu_supports("x86-64-v4")) {
        execute("x86-64-v4", lftool_v4, lftool_v4_end, bundle, argv);
    }
    if (most >= "x86-64-v3" && __builtin_cpu_supports("x86-64-v3")) {
        execute("x86-64-v3", lftool_v3, lftool_v3_end, bundle, argv);
    }
}

int handed_over() {
    return -1;
}

#else

void go_on_at_best_level(int, char **) {}

int handed_over() {
    const char * variable = getenv("LFTOOL_NATIVE_BUNDLE");
    const int    bundle   = variable == nullptr ? -1 : atoi(variable);
    unsetenv("LFTOOL_NATIVE_BUNDLE");
    if (bundle >= 0) {
        fcntl(bundle, F_SETFD, FD_CLOEXEC);
    }
    return bundle;
}

#endif

}  // namespace lftool
