// Files of decoded layers: locks on them and holes in them.
#include "bytes.h"
#include "fuse/napi-values.h"
#include "layer-calls.h"
#include "punch-holes.h"

namespace imgfs {

namespace {

class LockTask final : public Task {
 public:
  explicit LockTask(int fd) : fd_(fd) {}
  void run() override { locked_ = lockShared(fd_); }
  napi_value result(napi_env env) override {
    napi_value result;
    napi_get_boolean(env, locked_, &result);
    return result;
  }

 private:
  int fd_;
  bool locked_ = false;
};

class PunchTask final : public Task {
 public:
  PunchTask(int fd, int mapFd, std::vector<Hole> holes) : fd_(fd), mapFd_(mapFd), holes_(std::move(holes)) {}
  void run() override { punched_ = punchHoles(fd_, mapFd_, holes_); }
  napi_value result(napi_env env) override {
    napi_value result;
    napi_get_boolean(env, punched_, &result);
    return result;
  }

 private:
  int fd_;
  int mapFd_;
  std::vector<Hole> holes_;
  bool punched_ = false;
};

// lockShared(fd) -> Promise<boolean>
napi_value lockSharedCall(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const double fd = args.number(0);
  if (!args.ok()) return nullptr;
  return Task::start(env, std::make_unique<LockTask>(static_cast<int>(fd)), "imgfs:lock");
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
  auto task = std::make_unique<PunchTask>(static_cast<int>(fd), static_cast<int>(mapFd), std::move(holes));
  return Task::start(env, std::move(task), "imgfs:punch");
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
