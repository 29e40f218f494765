// What calls of JavaScript into the layer code have in common: arguments, values, and work on the thread pool.
#pragma once

#include <node_api.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "ordinary-work.h"

namespace imgfs {

// Each adds its functions to `exports.layer`: passes over layers, spans of them, and files of decoded ones.
void addIndexCalls(napi_env env, napi_value module);
void addSpanCalls(napi_env env, napi_value module);
void addFileCalls(napi_env env, napi_value module);

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
  static void onRun(napi_env, void* data) {
    const OrdinaryWork ordinary;
    static_cast<Task*>(data)->run();
  }
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

inline napi_value numberValue(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

inline napi_value textValue(napi_env env, const std::string& text) {
  napi_value result;
  napi_create_string_latin1(env, text.data(), text.size(), &result);
  return result;
}

inline napi_value bytesValue(napi_env env, const std::vector<uint8_t>& bytes) {
  napi_value buffer, view;
  void* data = nullptr;
  napi_create_arraybuffer(env, bytes.size(), &data, &buffer);
  if (!bytes.empty() && data != nullptr) memcpy(data, bytes.data(), bytes.size());
  napi_create_typedarray(env, napi_uint8_array, bytes.size(), buffer, 0, &view);
  return view;
}

// Memory of a Uint8Array.
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

// An external that owns the handle.
template <typename T>
napi_value wrapHandle(napi_env env, std::unique_ptr<T> handle) {
  napi_value result;
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
  if (napi_create_external(env, handle.get(), finalize, nullptr, &result) != napi_ok) return nullptr;
  handle.release();
  return result;
}

// False, and thrown, while a task works with the handle.
template <typename T>
bool claim(napi_env env, T* handle) {
  if (!handle->busy) return true;
  napi_throw_error(env, nullptr, "the handle is busy");
  return false;
}

}  // namespace imgfs
