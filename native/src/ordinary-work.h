// Threads of the pool are preferred by the kernel while they hold the pool's locks, which the JavaScript thread waits for
// (src/addon/prefer-thread.ts); while they compute they are ordinary ones.
#pragma once

#include <sys/resource.h>

namespace imgfs {

// The nice value of the calling thread is 0 at most while this lives: nice(2) is about threads on Linux. Two system calls of
// 0.2 us around work that takes from 100 us on; one where the thread is not preferred.
class OrdinaryWork {
 public:
  OrdinaryWork() : nice_(getpriority(PRIO_PROCESS, 0)) {
    if (nice_ < 0) setpriority(PRIO_PROCESS, 0, 0);
  }
  ~OrdinaryWork() {
    // Whoever has lost the right to it meanwhile stays ordinary.
    if (nice_ < 0) setpriority(PRIO_PROCESS, 0, nice_);
  }
  OrdinaryWork(const OrdinaryWork&) = delete;
  OrdinaryWork& operator=(const OrdinaryWork&) = delete;

 private:
  const int nice_;
};

}  // namespace imgfs
