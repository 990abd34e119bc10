// Work spread over threads, while the thread that asked for it can still be interrupted.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "poll.hpp"

namespace mmsrarec {

// Runs `work(thread, i)` for every i in [0, n) on `threads` threads, `at_once` of them at a time, while this
// thread polls. `work` does not throw. If a poll throws, the threads stop at their next i and the error goes
// on from here.
template <typename Work>
void run_polled(int64_t n, int64_t at_once, int64_t threads, const Poll& poll, const Work& work) {
    constexpr auto kPollInterval = std::chrono::milliseconds(20);
    std::atomic<int64_t> next = 0;
    std::atomic<bool> stop = false;
    std::mutex mutex;
    std::condition_variable finished;
    int64_t running = threads;
    const auto body = [&](int64_t thread) {
        for (int64_t first; (first = next.fetch_add(at_once)) < n;) {
            for (int64_t i = first; i < std::min(n, first + at_once) && !stop; ++i) work(thread, i);
            if (stop) break;
        }
        const std::lock_guard lock(mutex);
        if (--running == 0) finished.notify_one();
    };
    std::vector<std::jthread> workers;
    try {
        workers.reserve(threads);
        for (int64_t thread = 0; thread < threads; ++thread) workers.emplace_back(body, thread);
        std::unique_lock lock(mutex);
        while (!finished.wait_for(lock, kPollInterval, [&] { return running == 0; })) {
            lock.unlock();
            if (poll) poll();
            lock.lock();
        }
    } catch (...) {
        stop = true;
        throw;
    }
}

}  // namespace mmsrarec
