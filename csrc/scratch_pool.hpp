// Working memory that calls on any number of threads borrow and give back, so that none of it is made twice.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace mmsrarec {

template <typename Scratch>
class ScratchPool {
  public:
    std::unique_ptr<Scratch> take() {
        const std::lock_guard lock(mutex_);
        if (idle_.empty()) return std::make_unique<Scratch>();
        auto scratch = std::move(idle_.back());
        idle_.pop_back();
        return scratch;
    }

    void give_back(std::unique_ptr<Scratch> scratch) {
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(scratch));
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> idle_;
};

}  // namespace mmsrarec
