// What JavaScript sees of archives on disk: src/store/archive/walk-headers.ts has the types.
#include <cstring>
#include <memory>

#include "fuse/napi-values.h"
#include "modules.h"
#include "tar/header-walk.h"

namespace imgfs {

namespace {

template <typename Record>
napi_value doubles(napi_env env, const std::vector<Record>& records) {
  static_assert(sizeof(Record) % sizeof(double) == 0, "read by JavaScript as doubles");
  const size_t length = records.size() * sizeof(Record) / sizeof(double);
  napi_value buffer = nullptr, out = nullptr;
  void* data = nullptr;
  napi_create_arraybuffer(env, length * sizeof(double), &data, &buffer);
  if (length > 0 && data != nullptr) memcpy(data, records.data(), length * sizeof(double));
  napi_create_typedarray(env, napi_float64_array, length, buffer, 0, &out);
  return out;
}

napi_value bytesOf(napi_env env, const std::vector<uint8_t>& bytes) {
  napi_value buffer = nullptr, out = nullptr;
  void* data = nullptr;
  napi_create_arraybuffer(env, bytes.size(), &data, &buffer);
  if (!bytes.empty() && data != nullptr) memcpy(data, bytes.data(), bytes.size());
  napi_create_typedarray(env, napi_uint8_array, bytes.size(), buffer, 0, &out);
  return out;
}

napi_value answer(napi_env env, const HeaderWalk& walk) {
  napi_value out = nullptr;
  napi_create_object(env, &out);
  napi_value names = nullptr;
  napi_create_string_latin1(env, walk.names.data(), walk.names.size(), &names);
  napi_set_named_property(env, out, "headers", doubles(env, walk.headers));
  napi_set_named_property(env, out, "names", names);
  napi_set_named_property(env, out, "windows", doubles(env, walk.windows));
  napi_set_named_property(env, out, "bytes", bytesOf(env, walk.bytes));
  napi_set_named_property(env, out, "next", fuse::toNumber(env, walk.next));
  napi_set_named_property(env, out, "error", fuse::toNumber(env, walk.error));
  return out;
}

// walkHeaders(fd, at, size, budgetUs) -> Promise<{headers, names, windows, bytes, next, error}>
napi_value walkHeadersCall(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value values[4] = {};
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  if (count < 4) return fuse::fail(env, "walkHeaders takes fd, at, size and budgetUs");
  const int fd = static_cast<int>(fuse::wholeOf(env, values[0]));
  const uint64_t at = fuse::wholeOf(env, values[1]), size = fuse::wholeOf(env, values[2]);
  const uint64_t budgetUs = fuse::wholeOf(env, values[3]);
  const auto walk = std::make_shared<HeaderWalk>();
  return fuse::promise(
      env, "imgfs:headers", [=] { *walk = walkHeaders(fd, at, size, budgetUs); },
      [walk](napi_env env) { return answer(env, *walk); });
}

}  // namespace

void registerArchive(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  fuse::setMethods(env, module, {{"walkHeaders", walkHeadersCall}}, nullptr);
  napi_set_named_property(env, exports, "archive", module);
}

}  // namespace imgfs
