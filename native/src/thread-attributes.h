// How the kernel schedules one thread: sched_setattr(2) and sched_getattr(2), which older C libraries have no wrappers for.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace imgfs {

// The layout is that of the kernel's SCHED_ATTR_SIZE_VER0 (include/uapi/linux/sched/types.h).
struct ThreadAttributes {
  uint32_t size = sizeof(ThreadAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  // From Linux 6.12 on the slice of an ordinary thread in ns, 0 for the kernel's own; older ones do not look at it.
  uint64_t runtime = 0;
  uint64_t deadline = 0;
  uint64_t period = 0;
};
static_assert(sizeof(ThreadAttributes) == 48, "as the kernel has it");

// Of flags: threads and processes that this one makes are ordinary ones again.
constexpr uint64_t kResetOnFork = 1;

// `thread` as in /proc/self/task; 0 is the calling one. Returns errno, or 0.
inline int setThreadAttributes(pid_t thread, const ThreadAttributes& attributes) {
  return syscall(SYS_sched_setattr, thread, &attributes, 0) == 0 ? 0 : errno;
}

// Of the calling thread. False where the kernel does not say.
inline bool getThreadAttributes(ThreadAttributes& attributes) {
  return syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0;
}

}  // namespace imgfs
