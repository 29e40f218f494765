// Threads of the pool are preferred by the kernel while they hold the pool's locks, which the JavaScript thread waits for
// (src/addon/prefer-thread.ts); while they compute they are ordinary ones.
#pragma once

#include <sched.h>

#include "thread-attributes.h"

namespace imgfs {

// While this lives the nice value of the calling thread is 0 at most and its slice a long one: Linux lets who wakes with a
// shorter slice run at once (EEVDF, 6.12). With the short slice of a preferred thread the JavaScript thread, which woke it,
// waited for the next tick, 4 ms away. Three system calls of 0.2 us around work that takes from 100 us on; one where the
// thread is not preferred.
class OrdinaryWork {
 public:
  OrdinaryWork() {
    isPreferred_ = getThreadAttributes(before_) && before_.nice < 0;
    if (!isPreferred_) return;
    ThreadAttributes ordinary = before_;
    ordinary.nice = 0;
    ordinary.runtime = kSliceNs;
    setThreadAttributes(0, ordinary);
    // Whoever was put off by this thread as long as it was preferred: a new nice value alone does not end its turn.
    sched_yield();
  }
  ~OrdinaryWork() {
    // Whoever has lost the right to it meanwhile stays ordinary.
    if (isPreferred_) setThreadAttributes(0, before_);
  }
  OrdinaryWork(const OrdinaryWork&) = delete;
  OrdinaryWork& operator=(const OrdinaryWork&) = delete;

 private:
  // A tick of 250 Hz: no shorter one would be kept to.
  static constexpr uint64_t kSliceNs = 4'000'000;

  ThreadAttributes before_;
  bool isPreferred_;
};

}  // namespace imgfs
