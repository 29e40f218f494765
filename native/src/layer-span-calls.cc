// Spans of layers: decoded into memory or from file to file, and looked at once more.
#include "fuse/napi-values.h"
#include "layer-calls.h"
#include "span-files.h"
#include "span-reader.h"

namespace imgfs {

namespace {

struct SpanHandle {
  explicit SpanHandle(std::unique_ptr<SpanReader> made) : reader(std::move(made)) {}
  // Null once it was closed.
  std::unique_ptr<SpanReader> reader;
  bool busy = false;
};

class SpanTask final : public Task {
 public:
  SpanTask(SpanHandle* handle, Bytes input, Bytes output, const uint8_t* sha256, uint32_t crc, SpanCheck check)
      : handle_(handle), input_(input), output_(output), crc_(crc), check_(check) {
    memcpy(sha256_, sha256, sizeof sha256_);
  }
  void run() override {
    result_ = handle_->reader->read(input_.data, input_.length, output_.data, output_.length, sha256_, crc_, check_);
  }
  napi_value result(napi_env env) override {
    handle_->busy = false;
    return numberValue(env, static_cast<double>(result_));
  }

 private:
  SpanHandle* handle_;
  Bytes input_;
  Bytes output_;
  uint8_t sha256_[32];
  uint32_t crc_;
  SpanCheck check_;
  SpanResult result_ = SpanResult::ok;
};

class FilesTask final : public Task {
 public:
  FilesTask(SpanHandle* handle, Bytes records, int blobFd, int decodedFd)
      : handle_(handle), records_(records.data, records.data + records.length), blob_(blobFd), decoded_(decodedFd) {}
  void run() override { outcome_ = decodeBetweenFiles(*handle_->reader, records_, blob_.get(), decoded_.get()); }
  napi_value result(napi_env env) override {
    handle_->busy = false;
    napi_value object;
    napi_create_object(env, &object);
    napi_set_named_property(env, object, "done", numberValue(env, static_cast<double>(outcome_.done)));
    napi_set_named_property(env, object, "result", numberValue(env, static_cast<double>(outcome_.result)));
    return object;
  }

 private:
  SpanHandle* handle_;
  std::vector<uint8_t> records_;
  OwnedFd blob_;
  OwnedFd decoded_;
  FilesOutcome outcome_;
};

bool claimSpans(napi_env env, SpanHandle* handle) {
  if (handle->reader != nullptr) return claim(env, handle);
  napi_throw_error(env, nullptr, "the handle is closed");
  return false;
}

// openSpans(format, kind, bits, window, windowLength) -> handle
napi_value openSpans(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const double format = args.number(0), kind = args.number(1), bits = args.number(2);
  const Bytes window = args.bytes(3);
  const double windowLength = args.number(4);
  if (!args.ok()) return nullptr;
  if (format < 0 || format > 2 || kind < 0 || kind > 1 || bits < 0 || bits > 7 || windowLength < 0 ||
      windowLength > kWindow) {
    napi_throw_range_error(env, nullptr, "span is out of range");
    return nullptr;
  }
  auto reader = std::make_unique<SpanReader>(
      static_cast<Format>(static_cast<uint8_t>(format)), static_cast<StartKind>(static_cast<uint8_t>(kind)),
      static_cast<uint8_t>(bits), window.data, window.length, static_cast<size_t>(windowLength));
  if (!reader->ready()) {
    napi_throw_error(env, nullptr, "libzstd could not be loaded");
    return nullptr;
  }
  return wrapHandle(env, std::make_unique<SpanHandle>(std::move(reader)));
}

// nextSpan(handle, input, output, sha256, crc, check) -> Promise<SpanResult>
napi_value nextSpan(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  SpanHandle* handle = args.external<SpanHandle>(0);
  const Bytes input = args.bytes(1), output = args.bytes(2), sha256 = args.bytes(3);
  const double crc = args.number(4), check = args.number(5);
  if (!args.ok() || !claimSpans(env, handle)) return nullptr;
  if (sha256.length != 32) {
    napi_throw_range_error(env, nullptr, "a sha256 has 32 bytes");
    return nullptr;
  }
  if (check != 0 && check != 1 && check != 2) {
    napi_throw_range_error(env, nullptr, "no such check");
    return nullptr;
  }
  handle->busy = true;
  auto task = std::make_unique<SpanTask>(handle, input, output, sha256.data, static_cast<uint32_t>(crc),
                                         static_cast<SpanCheck>(check));
  for (const size_t index : {0, 1, 2}) task->hold(env, args.value(index));
  return Task::start(env, std::move(task), "imgfs:span");
}

// closeSpans(handle): its memory goes now, not when the handle is found to be garbage
napi_value closeSpans(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  SpanHandle* handle = args.external<SpanHandle>(0);
  if (args.ok() && claim(env, handle)) handle->reader.reset();
  return nullptr;
}

class CheckTask final : public Task {
 public:
  CheckTask(Bytes records, int decodedFd) : records_(records.data, records.data + records.length), decoded_(decodedFd) {}
  void run() override { right_ = countRight(records_, decoded_.get()); }
  napi_value result(napi_env env) override { return numberValue(env, static_cast<double>(right_)); }

 private:
  std::vector<uint8_t> records_;
  OwnedFd decoded_;
  size_t right_ = 0;
};

// countRight(records, decodedFd) -> Promise<number>
napi_value countRightCall(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  const Bytes records = args.bytes(0);
  const double decodedFd = args.number(1);
  if (!args.ok()) return nullptr;
  return Task::start(env, std::make_unique<CheckTask>(records, static_cast<int>(decodedFd)), "imgfs:check");
}

// decodeBetweenFiles(handle, records, blobFd, decodedFd) -> Promise<{done, result}>
napi_value decodeBetweenFilesCall(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  SpanHandle* handle = args.external<SpanHandle>(0);
  const Bytes records = args.bytes(1);
  const double blobFd = args.number(2), decodedFd = args.number(3);
  if (!args.ok() || !claimSpans(env, handle)) return nullptr;
  handle->busy = true;
  auto task = std::make_unique<FilesTask>(handle, records, static_cast<int>(blobFd), static_cast<int>(decodedFd));
  task->hold(env, args.value(0));
  return Task::start(env, std::move(task), "imgfs:spans");
}

// hasZstd() -> boolean
napi_value hasZstdCall(napi_env env, napi_callback_info) {
  napi_value result;
  napi_get_boolean(env, hasZstd(), &result);
  return result;
}

}  // namespace

void addSpanCalls(napi_env env, napi_value module) {
  const std::vector<fuse::Method> methods = {
      {"openSpans", openSpans},
      {"nextSpan", nextSpan},
      {"closeSpans", closeSpans},
      {"decodeBetweenFiles", decodeBetweenFilesCall},
      {"countRight", countRightCall},
      {"hasZstd", hasZstdCall},
  };
  fuse::setMethods(env, module, methods, nullptr);
}

}  // namespace imgfs
