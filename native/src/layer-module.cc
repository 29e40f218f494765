// What JavaScript sees of the layer code: src/layer/native/layer-addon.ts has the types.
#include <memory>
#include <string>
#include <vector>

#include "layer-indexer.h"
#include "modules.h"
#include "punch-holes.h"
#include "span-files.h"
#include "span-reader.h"

namespace imgfs {

namespace {

// Work on the thread pool that ends a promise. JavaScript values it needs are held until then.
class Task {
 public:
  virtual ~Task() = default;
  virtual void run() = 0;
  virtual napi_value result(napi_env env) = 0;

  void hold(napi_env env, napi_value value) {
    napi_ref ref;
    if (napi_create_reference(env, value, 1, &ref) == napi_ok) held_.push_back(ref);
  }

  static napi_value start(napi_env env, std::unique_ptr<Task> task, const char* name) {
    napi_value promise, label;
    napi_create_promise(env, &task->deferred_, &promise);
    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label);
    Task* raw = task.get();
    if (napi_create_async_work(env, nullptr, label, onRun, onDone, raw, &raw->work_) != napi_ok ||
        napi_queue_async_work(env, raw->work_) != napi_ok) {
      napi_throw_error(env, nullptr, "cannot start work on the thread pool");
      return nullptr;
    }
    task.release();
    return promise;
  }

 private:
  static void onRun(napi_env, void* data) { static_cast<Task*>(data)->run(); }
  static void onDone(napi_env env, napi_status, void* data) {
    const std::unique_ptr<Task> task(static_cast<Task*>(data));
    napi_resolve_deferred(env, task->deferred_, task->result(env));
    for (napi_ref ref : task->held_) napi_delete_reference(env, ref);
    napi_delete_async_work(env, task->work_);
  }

  napi_deferred deferred_ = nullptr;
  napi_async_work work_ = nullptr;
  std::vector<napi_ref> held_;
};

napi_value numberValue(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

napi_value textValue(napi_env env, const std::string& text) {
  napi_value result;
  napi_create_string_latin1(env, text.data(), text.size(), &result);
  return result;
}

napi_value bytesValue(napi_env env, const std::vector<uint8_t>& bytes) {
  napi_value buffer, view;
  void* data = nullptr;
  napi_create_arraybuffer(env, bytes.size(), &data, &buffer);
  if (!bytes.empty() && data != nullptr) memcpy(data, bytes.data(), bytes.size());
  napi_create_typedarray(env, napi_uint8_array, bytes.size(), buffer, 0, &view);
  return view;
}

struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// Arguments of one call; the first that has the wrong type is thrown as a TypeError.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr);
  }
  double number(size_t index) {
    double value = 0;
    check(index < count_ && napi_get_value_double(env_, values_[index], &value) == napi_ok);
    return value;
  }
  Bytes bytes(size_t index) {
    Bytes bytes;
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    const bool ok = index < count_ && napi_get_typedarray_info(env_, values_[index], &type, &bytes.length, &data,
                                                              nullptr, nullptr) == napi_ok;
    check(ok && type == napi_uint8_array);
    if (ok_) bytes.data = static_cast<uint8_t*>(data);
    return bytes;
  }
  template <typename T>
  T* external(size_t index) {
    void* data = nullptr;
    check(index < count_ && napi_get_value_external(env_, values_[index], &data) == napi_ok && data != nullptr);
    return static_cast<T*>(data);
  }
  napi_value value(size_t index) const { return values_[index]; }
  bool ok() const { return ok_; }

 private:
  void check(bool fine) {
    if (!fine && ok_) napi_throw_type_error(env_, nullptr, "wrong argument for the layer addon");
    ok_ = ok_ && fine;
  }

  static constexpr size_t kMax = 12;
  napi_env env_;
  size_t count_ = kMax;
  napi_value values_[kMax] = {};
  bool ok_ = true;
};

struct Handle {
  explicit Handle(const IndexerOptions& options) : indexer(options) {}
  LayerIndexer indexer;
  bool busy = false;
};

class StepTask final : public Task {
 public:
  StepTask(Handle* handle, Bytes input, double outBudget, double entryBudget, bool finish)
      : handle_(handle),
        input_(input),
        outBudget_(static_cast<uint64_t>(outBudget)),
        entryBudget_(static_cast<uint32_t>(entryBudget)),
        finish_(finish) {}

  void run() override {
    LayerIndexer& indexer = handle_->indexer;
    consumed_ = indexer.step(input_.data, input_.length, outBudget_, entryBudget_);
    if (finish_ && consumed_ == input_.length && indexer.error().empty()) indexer.finish();
    entries_ = indexer.takeEntries();
    spans_ = indexer.takeSpans();
    windows_ = indexer.takeWindows();
  }

  napi_value result(napi_env env) override {
    handle_->busy = false;
    const LayerIndexer& indexer = handle_->indexer;
    napi_value object;
    napi_create_object(env, &object);
    const auto set = [&](const char* name, napi_value value) { napi_set_named_property(env, object, name, value); };
    set("consumed", numberValue(env, static_cast<double>(consumed_)));
    set("inTotal", numberValue(env, static_cast<double>(indexer.inTotal())));
    set("outTotal", numberValue(env, static_cast<double>(indexer.outTotal())));
    set("entries", bytesValue(env, entries_));
    set("spans", bytesValue(env, spans_));
    set("windows", bytesValue(env, windows_));
    set("digest", textValue(env, indexer.digest()));
    set("error", textValue(env, indexer.error()));
    set("errorOffset", numberValue(env, static_cast<double>(indexer.errorOffset())));
    napi_value flag;
    napi_get_boolean(env, indexer.errorIsTar(), &flag);
    set("errorIsTar", flag);
    napi_get_boolean(env, indexer.errorIsWrite(), &flag);
    set("decodedLost", flag);
    return object;
  }

 private:
  Handle* handle_;
  Bytes input_;
  uint64_t outBudget_;
  uint32_t entryBudget_;
  bool finish_;
  size_t consumed_ = 0;
  std::vector<uint8_t> entries_, spans_, windows_;
};

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

template <typename T>
napi_value wrapHandle(napi_env env, std::unique_ptr<T> handle) {
  napi_value result;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
  if (napi_create_external(env, handle.get(), finalize, nullptr, &result) != napi_ok) return nullptr;
  handle.release();
  return result;
}

// createIndexer(format, algorithm, spanBytes) -> handle
napi_value createIndexer(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  IndexerOptions options;
  const double format = args.number(0), algorithm = args.number(1), spanBytes = args.number(2);
  if (!args.ok()) return nullptr;
  if (format < 0 || format > 2 || algorithm < 0 || algorithm > 2 || spanBytes < 4096) {
    napi_throw_range_error(env, nullptr, "format, algorithm or span length is out of range");
    return nullptr;
  }
  options.format = static_cast<Format>(static_cast<uint8_t>(format));
  options.algorithm = static_cast<BlobHash::Algorithm>(static_cast<uint8_t>(algorithm));
  options.spanBytes = static_cast<uint64_t>(spanBytes);
  auto handle = std::make_unique<Handle>(options);
  if (!handle->indexer.ready()) {
    napi_throw_error(env, nullptr, handle->indexer.error().c_str());
    return nullptr;
  }
  return wrapHandle(env, std::move(handle));
}

template <typename T>
bool claim(napi_env env, T* handle) {
  if (!handle->busy) return true;
  napi_throw_error(env, nullptr, "the handle is busy");
  return false;
}

bool claimSpans(napi_env env, SpanHandle* handle) {
  if (handle->reader != nullptr) return claim(env, handle);
  napi_throw_error(env, nullptr, "the handle is closed");
  return false;
}

// restoreIndexer(handle, state) -> boolean
napi_value restoreIndexer(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Handle* handle = args.external<Handle>(0);
  const Bytes state = args.bytes(1);
  if (!args.ok() || !claim(env, handle)) return nullptr;
  napi_value result;
  napi_get_boolean(env, handle->indexer.restore(state.data, state.length), &result);
  return result;
}

// saveIndexer(handle) -> Uint8Array
napi_value saveIndexer(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Handle* handle = args.external<Handle>(0);
  if (!args.ok() || !claim(env, handle)) return nullptr;
  return bytesValue(env, handle->indexer.saved());
}

// keepDecoded(handle, fd)
napi_value keepDecoded(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Handle* handle = args.external<Handle>(0);
  const double fd = args.number(1);
  if (!args.ok() || !claim(env, handle)) return nullptr;
  handle->indexer.keepDecodedIn(static_cast<int>(fd));
  return nullptr;
}

// stepIndexer(handle, input, outBudget, entryBudget, finish) -> Promise
napi_value stepIndexer(napi_env env, napi_callback_info info) {
  Arguments args(env, info);
  Handle* handle = args.external<Handle>(0);
  const Bytes input = args.bytes(1);
  const double outBudget = args.number(2), entryBudget = args.number(3), finish = args.number(4);
  if (!args.ok() || !claim(env, handle)) return nullptr;
  handle->busy = true;
  auto task = std::make_unique<StepTask>(handle, input, outBudget, entryBudget, finish != 0);
  task->hold(env, args.value(0));
  task->hold(env, args.value(1));
  return Task::start(env, std::move(task), "imgfs:index");
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

// hasZstd() -> boolean
napi_value hasZstdCall(napi_env env, napi_callback_info) {
  napi_value result;
  napi_get_boolean(env, hasZstd(), &result);
  return result;
}

}  // namespace

void registerLayer(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"createIndexer", nullptr, createIndexer, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"restoreIndexer", nullptr, restoreIndexer, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"saveIndexer", nullptr, saveIndexer, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"keepDecoded", nullptr, keepDecoded, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"stepIndexer", nullptr, stepIndexer, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"openSpans", nullptr, openSpans, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"closeSpans", nullptr, closeSpans, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"nextSpan", nullptr, nextSpan, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"decodeBetweenFiles", nullptr, decodeBetweenFilesCall, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"countRight", nullptr, countRightCall, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"lockShared", nullptr, lockSharedCall, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"punchHoles", nullptr, punchHolesCall, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"hasZstd", nullptr, hasZstdCall, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_value module;
  if (napi_create_object(env, &module) != napi_ok) return;
  napi_define_properties(env, module, sizeof functions / sizeof functions[0], functions);
  napi_set_named_property(env, exports, "layer", module);
}

}  // namespace imgfs
