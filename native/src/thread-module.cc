// What JavaScript may ask about its own thread: src/addon/prefer-thread.ts has the types.
#include "fuse/napi-values.h"
#include "modules.h"
#include "thread-attributes.h"

namespace imgfs {

namespace {

// prefer(thread, nice, sliceUs) -> errno or 0. `nice` below zero needs a privilege.
napi_value prefer(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value values[3] = {};
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  if (count < 3) return fuse::fail(env, "prefer takes thread, nice and sliceUs");
  int32_t thread = 0, nice = 0;
  napi_get_value_int32(env, values[0], &thread);
  napi_get_value_int32(env, values[1], &nice);
  ThreadAttributes attributes;
  // Decoders, drivers and helpers that it makes are ordinary.
  attributes.flags = kResetOnFork;
  attributes.nice = nice;
  attributes.runtime = fuse::wholeOf(env, values[2]) * 1000;
  return fuse::toNumber(env, setThreadAttributes(thread, attributes));
}

}  // namespace

void registerThread(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  fuse::setMethods(env, module, {{"prefer", prefer}}, nullptr);
  napi_set_named_property(env, exports, "thread", module);
}

}  // namespace imgfs
