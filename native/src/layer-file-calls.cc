// Files of decoded layers: locks on them and holes in them.
#include <functional>
#include <memory>

#include "bytes.h"
#include "fuse/napi-values.h"
#include "layer-calls.h"
#include "punch-holes.h"

namespace imgfs {

namespace {

// Promise<boolean>: whether `work` succeeded on the thread pool.
napi_value whether(napi_env env, const char* name, std::function<bool()> work) {
  const auto done = std::make_shared<bool>(false);
  return fuse::promise(
      env, name, [done, work = std::move(work)] { *done = work(); },
      [done](napi_env env) { return fuse::toBoolean(env, *done); });
}

// lockShared(fd) -> Promise<boolean>
napi_value lockSharedCall(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const double fd = args.number(0);
  if (!args.ok()) return nullptr;
  return whether(env, "imgfs:lock", [fd = static_cast<int>(fd)] { return lockShared(fd); });
}

// punchHoles(fd, mapFd, holes) -> Promise<boolean>; three f64 for each hole: start, end, place in the map
napi_value punchHolesCall(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const double fd = args.number(0), mapFd = args.number(1);
  const Bytes bytes = args.bytes(2);
  if (!args.ok()) return nullptr;
  std::vector<Hole> holes;
  ByteReader reader(bytes.data, bytes.length);
  for (size_t left = bytes.length / (3 * sizeof(double)); left > 0; --left) {
    Hole hole{};
    hole.start = static_cast<uint64_t>(reader.value<double>());
    hole.end = static_cast<uint64_t>(reader.value<double>());
    hole.mapIndex = static_cast<uint64_t>(reader.value<double>());
    if (hole.end > hole.start) holes.push_back(hole);
  }
  return whether(env, "imgfs:punch", [fd = static_cast<int>(fd), mapFd = static_cast<int>(mapFd), holes = std::move(holes)] {
    return punchHoles(fd, mapFd, holes);
  });
}

}  // namespace

void addFileCalls(napi_env env, napi_value module) {
  const std::vector<fuse::Method> methods = {
      {"lockShared", lockSharedCall},
      {"punchHoles", punchHolesCall},
  };
  fuse::setMethods(env, module, methods, nullptr);
}

}  // namespace imgfs
