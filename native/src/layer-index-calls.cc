// Passes over layers, as JavaScript drives them.
#include "fuse/napi-values.h"
#include "layer-calls.h"
#include "layer-indexer.h"

namespace imgfs {

namespace {

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

}  // namespace

void addIndexCalls(napi_env env, napi_value module) {
  const std::vector<fuse::Method> methods = {
      {"createIndexer", createIndexer},
      {"restoreIndexer", restoreIndexer},
      {"saveIndexer", saveIndexer},
      {"keepDecoded", keepDecoded},
      {"stepIndexer", stepIndexer},
  };
  fuse::setMethods(env, module, methods, nullptr);
}

}  // namespace imgfs
