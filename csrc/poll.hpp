// How long native work lets its caller interrupt it.
#pragma once

#include <cstdint>
#include <functional>

namespace mmsrarec {

// Called every few milliseconds of long work, always on the thread that started it. It may throw to stop the
// work, which then leaves everything as it was before.
using Poll = std::function<void()>;

// Calls a Poll once in so many units of work, so that the inner loops need no clock.
class Pacer {
  public:
    Pacer(const Poll& poll, int64_t units_between_polls) : poll_(poll), between_(units_between_polls) {}

    void advance(int64_t units) {
        done_ += units;
        if (done_ >= between_) {
            done_ = 0;
            if (poll_) poll_();
        }
    }

  private:
    const Poll& poll_;
    int64_t between_;
    int64_t done_ = 0;
};

}  // namespace mmsrarec
