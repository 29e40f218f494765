// What JavaScript sees of archives on disk: src/store/archive/walk-headers.ts has the types.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "fuse/napi-values.h"
#include "modules.h"
#include "tar/header-walk.h"

namespace imgfs {

namespace {

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
  napi_set_named_property(env, out, "headers", fuse::doubles(env, walk.headers));
  napi_set_named_property(env, out, "names", names);
  napi_set_named_property(env, out, "windows", fuse::doubles(env, walk.windows));
  napi_set_named_property(env, out, "bytes", bytesOf(env, walk.bytes));
  napi_set_named_property(env, out, "next", fuse::toNumber(env, walk.next));
  napi_set_named_property(env, out, "error", fuse::toNumber(env, walk.error));
  napi_set_named_property(env, out, "endOffset", fuse::toNumber(env, walk.endOffset));
  napi_set_named_property(env, out, "endBytes", bytesOf(env, walk.endBytes));
  napi_set_named_property(env, out, "isLast", fuse::toBoolean(env, walk.isLast));
  return out;
}

// A walk on a thread of libuv's pool; its parts go to JavaScript as they come.
struct Walk {
  napi_async_work work = nullptr;
  napi_threadsafe_function parts = nullptr;
  // Opened here unless it is empty.
  std::string path;
  int fd = -1;
  uint64_t at = 0, size = 0, budgetUs = 0;
};

// A part as it is handed over.
struct Part {
  HeaderWalk walk;
  // Of the file that was opened here, and of what has its path now.
  std::string identity, current;
};

// As `archiveIdentity` of src/store/archive/archive-file.ts.
std::string identityOf(const struct stat& status) {
  const int64_t mtimeNs = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  return std::to_string(status.st_dev) + " " + std::to_string(status.st_ino) + " " + std::to_string(status.st_size) +
         " " + std::to_string(mtimeNs);
}

std::string identityOf(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 ? identityOf(status) : "";
}

std::string identityOf(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? identityOf(status) : "";
}

void handOver(napi_env env, napi_value take, void*, void* data) {
  const std::unique_ptr<Part> part(static_cast<Part*>(data));
  // Node is going away.
  if (env == nullptr || take == nullptr) return;
  napi_value undefined = nullptr, value = answer(env, part->walk);
  napi_get_undefined(env, &undefined);
  napi_set_named_property(env, value, "identity", fuse::toText(env, part->identity));
  napi_set_named_property(env, value, "current", fuse::toText(env, part->current));
  napi_call_function(env, undefined, take, 1, &value, nullptr);
}

// As src/store/safe-open.ts opens: nothing but a regular file is read.
int openRegular(const std::string& path, int& error) {
  const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || fstat(fd, &status) != 0) error = errno;
  if (fd < 0 || (error == 0 && S_ISREG(status.st_mode))) return fd;
  if (error == 0) error = EINVAL;
  close(fd);
  return -1;
}

void walkOnThread(napi_env, void* data) {
  const Walk& walk = *static_cast<Walk*>(data);
  const bool isOurs = !walk.path.empty();
  int error = 0;
  const int fd = isOurs ? openRegular(walk.path, error) : walk.fd;
  const std::string identity = isOurs && fd >= 0 ? identityOf(fd) : "";
  const auto take = [&](HeaderWalk&& part) {
    auto handed = std::make_unique<Part>(Part{std::move(part), identity, isOurs ? identityOf(walk.path) : ""});
    if (napi_call_threadsafe_function(walk.parts, handed.get(), napi_tsfn_nonblocking) == napi_ok) handed.release();
  };
  if (fd >= 0) {
    walkHeadersInParts(fd, walk.at, walk.size, walk.budgetUs, take);
  } else {
    HeaderWalk nothing;
    nothing.error = error;
    take(std::move(nothing));
  }
  if (isOurs && fd >= 0) close(fd);
  napi_release_threadsafe_function(walk.parts, napi_tsfn_release);
}

// walkHeaders(fd or path, at, size, budgetUs, take): `take` is called with {headers, names, windows, bytes, next, error,
// endOffset, endBytes, isLast, identity, current}, the last time with isLast. `size` 0: that of the file. A path is opened, and
// each part says what file it was and what file has the path now.
napi_value walkHeadersCall(napi_env env, napi_callback_info info) {
  size_t count = 5;
  napi_value values[5] = {};
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  if (count < 5) return fuse::fail(env, "walkHeaders takes fd or path, at, size, budgetUs and take");
  auto walk = std::make_unique<Walk>();
  walk->path = fuse::textOf(env, values[0]);
  if (walk->path.empty()) walk->fd = static_cast<int>(fuse::wholeOf(env, values[0]));
  walk->at = fuse::wholeOf(env, values[1]);
  walk->size = fuse::wholeOf(env, values[2]);
  walk->budgetUs = fuse::wholeOf(env, values[3]);
  napi_value label = nullptr;
  napi_create_string_utf8(env, "imgfs:headers", NAPI_AUTO_LENGTH, &label);
  if (napi_create_threadsafe_function(env, values[4], nullptr, label, 0, 1, nullptr, nullptr, nullptr, handOver,
                                      &walk->parts) != napi_ok)
    return fuse::fail(env, "no thread-safe function");
  napi_create_async_work(
      env, nullptr, label, walkOnThread,
      [](napi_env env, napi_status, void* data) {
        const std::unique_ptr<Walk> walk(static_cast<Walk*>(data));
        napi_delete_async_work(env, walk->work);
      },
      walk.get(), &walk->work);
  napi_queue_async_work(env, walk->work);
  walk.release();
  return nullptr;
}

}  // namespace

void registerArchive(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  fuse::setMethods(env, module, {{"walkHeaders", walkHeadersCall}}, nullptr);
  napi_set_named_property(env, exports, "archive", module);
}

}  // namespace imgfs
