// Every connection gets a thread.
#include <future>
#include <memory>
#include <mutex>
#include <system_error>

#include <cpp-httplib/httplib.h>

#include "wrap.h"

using Job = std::function<void()>;

bool wrap_enqueue(httplib::ThreadPool * self, Job job) LFTOOL_OURS(LFTOOL_ENQUEUE);
bool real_enqueue(httplib::ThreadPool * self, Job job) LFTOOL_THEIRS(LFTOOL_ENQUEUE);

// cpp-httplib's pool starts a thread where none is idle, but counts one as idle until it has woken up and taken a job. Of
// connections that come faster than that, all but the first few were left without a thread until another client went away:
// of fifty at once, forty-two. Here the next one waits until this one has been taken, so the count is right.
bool wrap_enqueue(httplib::ThreadPool * self, Job job) {
    static std::mutex listeners;  // an address may stand for two, of IPv4 and IPv6
    const std::lock_guard<std::mutex> one(listeners);
    const auto taken = std::make_shared<std::promise<void>>();
    const auto noted = [taken, job] {
        taken->set_value();
        job();
    };
    try {
        if (!real_enqueue(self, noted)) {
            return false;
        }
    } catch (const std::system_error &) {
        // No more threads are to be had. The job is queued already, and the next thread that is done takes it.
    }
    taken->get_future().wait();
    return true;
}
