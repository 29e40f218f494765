// What JavaScript may ask about its own thread: src/addon/prefer-thread.ts has the types.
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuse/napi-values.h"
#include "modules.h"

namespace imgfs {

namespace {

// sched_setattr(2) has no wrapper in older C libraries. The layout is that of the kernel's SCHED_ATTR_SIZE_VER0.
struct SchedAttr {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime;
  uint64_t deadline;
  uint64_t period;
};
static_assert(sizeof(SchedAttr) == 48, "as the kernel has it");

constexpr uint64_t kResetOnFork = 1;

// `thread` as in /proc/self/task; 0 is the calling one.
int setThread(pid_t thread, int nice, uint64_t sliceNs) {
  SchedAttr attr{};
  attr.size = sizeof attr;
  // Threads and processes that this one makes are ordinary ones again: decoders, drivers, helpers.
  attr.flags = kResetOnFork;
  attr.nice = nice;
  // From Linux 6.12 on the slice of an ordinary thread; older ones do not look at it.
  attr.runtime = sliceNs;
  return syscall(SYS_sched_setattr, thread, &attr, 0) == 0 ? 0 : errno;
}

// prefer(thread, nice, sliceUs) -> errno or 0. `nice` below zero needs a privilege.
napi_value prefer(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3] = {};
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  if (count < 3) return fuse::fail(env, "prefer takes thread, nice and sliceUs");
  int32_t thread = 0, nice = 0;
  napi_get_value_int32(env, values[0], &thread);
  napi_get_value_int32(env, values[1], &nice);
  return fuse::toNumber(env, setThread(thread, nice, fuse::wholeOf(env, values[2]) * 1000));
}

}  // namespace

void registerThread(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  fuse::setMethods(env, module, {{"prefer", prefer}}, nullptr);
  napi_set_named_property(env, exports, "thread", module);
}

}  // namespace imgfs
