// ggml's threads meet at barriers, hundreds of times a token: two threads on two cores, one of which another program wants, get
// less done than one, for each waits while the other is not running. So there are as many threads as cores are free, looked at
// anew a few times a second. The linker puts the functions at the end in place of llama.cpp's (-Wl,--wrap).
#include "neighbours.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <fstream>
#include <mutex>
#include <sstream>

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "llama.h"
#include "wrap.h"

int32_t real_decode(llama_context * context, llama_batch batch) LFTOOL_THEIRS(llama_decode);
int32_t wrap_decode(llama_context * context, llama_batch batch) LFTOOL_OURS(llama_decode);
int32_t real_encode(llama_context * context, llama_batch batch) LFTOOL_THEIRS(llama_encode);
int32_t wrap_encode(llama_context * context, llama_batch batch) LFTOOL_OURS(llama_encode);
int32_t real_process(llama_context * context, llama_process_type type, llama_batch_ext * batch) LFTOOL_THEIRS(llama_process);
int32_t wrap_process(llama_context * context, llama_process_type type, llama_batch_ext * batch) LFTOOL_OURS(llama_process);
void real_attach(llama_context * context, ggml_threadpool_t pool, ggml_threadpool_t pool_batch) LFTOOL_THEIRS(llama_attach_threadpool);
void wrap_attach(llama_context * context, ggml_threadpool_t pool, ggml_threadpool_t pool_batch) LFTOOL_OURS(llama_attach_threadpool);

namespace lftool {

namespace {

constexpr double LOOK_SECONDS = 0.25;  // the kernel counts in hundredths of a second
constexpr double NOISE        = 0.4;   // cores that others may keep busy and still count as away; a busy one shows as 0.5 at least
constexpr int    MOST_CORES   = 4096;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool may_run_on(int core) {
    cpu_set_t *  set   = CPU_ALLOC(MOST_CORES);
    const size_t bytes = CPU_ALLOC_SIZE(MOST_CORES);
    const bool   may   = sched_getaffinity(0, bytes, set) != 0 || CPU_ISSET_S(core, bytes, set);
    CPU_FREE(set);
    return may;
}

struct Shared {
    std::mutex mutex;
    int        most    = 0;  // 0: nothing is shared
    int        threads = 0;
    Work       before;
    // llama.cpp's pool of threads, of as many as there were to begin with. One that has nothing to do spins for a quarter of a
    // second after every evaluation, so a context that uses another number has none.
    int               pooled     = 0;
    ggml_threadpool_t pool       = nullptr;
    ggml_threadpool_t pool_batch = nullptr;
};

Shared & shared() {
    static Shared one;
    return one;
}

// Sets the threads of a context whose number is ours: where the user has said how many, they stay.
void adapt(llama_context * context) {
    Shared &                          sharing = shared();
    const std::lock_guard<std::mutex> lock(sharing.mutex);
    if (sharing.most < 2) {
        return;
    }
    const int threads = llama_n_threads(context);
    if (threads != sharing.threads && threads != sharing.pooled) {
        return;
    }
    if (now() - sharing.before.at >= LOOK_SECONDS) {
        const Work after = work_done();
        sharing.threads  = threads_beside(sharing.before, after, sharing.most);
        sharing.before   = after;
    }
    if (threads != sharing.threads) {
        llama_set_n_threads(context, sharing.threads, sharing.threads);
        if (sharing.threads == sharing.pooled && sharing.pool != nullptr) {
            real_attach(context, sharing.pool, sharing.pool_batch);
        } else {
            llama_detach_threadpool(context);
        }
    }
}

// llama.cpp's functions in C throw nothing: a look that fails leaves the threads as they are.
void try_to_adapt(llama_context * context) noexcept {
    try {
        adapt(context);
    } catch (const std::exception &) {
    }
}

}  // namespace

Work work_done(const std::string & root) {
    Work made;
    made.at = now();
    struct rusage used = {};
    if (getrusage(RUSAGE_SELF, &used) == 0) {
        made.own = used.ru_utime.tv_sec + used.ru_stime.tv_sec + 1e-6 * (used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    }
    const double  tick = 1.0 / std::max(1L, sysconf(_SC_CLK_TCK));
    std::ifstream file(root + "/proc/stat");
    for (std::string line; std::getline(file, line) && line.compare(0, 3, "cpu") == 0;) {  // proc(5): in ticks
        std::istringstream parts(line.substr(3));
        int                core = 0;
        if (line.size() < 4 || line[3] == ' ' || !(parts >> core) || core < 0 || core >= MOST_CORES || !may_run_on(core)) {
            continue;
        }
        double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft = 0;
        if (parts >> user >> nice >> system >> idle >> waiting >> interrupts >> soft) {
            made.all += tick * (user + nice + system + interrupts + soft);
            made.cores++;
        }
    }
    return made;
}

int threads_beside(const Work & before, const Work & after, int most) {
    const double seconds = after.at - before.at;
    if (before.cores == 0 || before.cores != after.cores || seconds <= 0) {
        return most;  // nothing is known
    }
    const double others = std::max(0.0, (after.all - before.all) - (after.own - before.own)) / seconds;
    return std::clamp(static_cast<int>(after.cores - others + NOISE), 1, most);
}

int threads_at_once(int cores, int most, const std::string & root) {
    std::ifstream file(root + "/proc/loadavg");  // proc(5): three averages, and running/all
    std::string   skipped;
    int           running = 0;
    if (cores == 0 || !(file >> skipped >> skipped >> skipped >> running) || running < 1) {
        return most;
    }
    return std::clamp(cores - (running - 1), 1, most);
}

int share_cores(int most) {
    Shared &                          sharing = shared();
    const std::lock_guard<std::mutex> lock(sharing.mutex);
    sharing.most    = most;
    sharing.before  = work_done();
    sharing.threads = threads_at_once(sharing.before.cores, most);
    sharing.pooled  = sharing.threads;
    return sharing.threads;
}

}  // namespace lftool

int32_t wrap_decode(llama_context * context, llama_batch batch) {
    lftool::try_to_adapt(context);
    return real_decode(context, batch);
}

int32_t wrap_encode(llama_context * context, llama_batch batch) {
    lftool::try_to_adapt(context);
    return real_encode(context, batch);
}

// What llama-server calls in their place.
int32_t wrap_process(llama_context * context, llama_process_type type, llama_batch_ext * batch) {
    lftool::try_to_adapt(context);
    return real_process(context, type, batch);
}

void wrap_attach(llama_context * context, ggml_threadpool_t pool, ggml_threadpool_t pool_batch) {
    {
        lftool::Shared &                  sharing = lftool::shared();
        const std::lock_guard<std::mutex> lock(sharing.mutex);
        sharing.pool       = pool;
        sharing.pool_batch = pool_batch;
    }
    real_attach(context, pool, pool_batch);
}
