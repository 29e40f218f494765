#include "napi-values.h"

#include <memory>

#include "../ordinary-work.h"
#include "attributes.h"

namespace imgfs::fuse {
namespace {

bool number(napi_env env, napi_value value, double& out) { return napi_get_value_double(env, value, &out) == napi_ok; }

// Work on a thread of libuv's pool, answered by a promise.
struct Work {
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  std::function<void()> run;
  std::function<napi_value(napi_env)> result;
};

}  // namespace

uint64_t wholeOf(napi_env env, napi_value value) {
  double given = -1;
  uint64_t out = 0;
  return number(env, value, given) && wholeNumber(given, out) ? out : 0;
}

bool flagOf(napi_env env, napi_value value) {
  bool out = false;
  napi_get_value_bool(env, value, &out);
  return out;
}

std::string textOf(napi_env env, napi_value value, bool latin1) {
  size_t length = 0;
  auto read = latin1 ? napi_get_value_string_latin1 : napi_get_value_string_utf8;
  if (read(env, value, nullptr, 0, &length) != napi_ok) return "";
  std::string out(length + 1, '\0');
  read(env, value, out.data(), out.size(), &length);
  out.resize(length);
  return out;
}

napi_value property(napi_env env, napi_value object, const char* name) {
  napi_value value = nullptr;
  napi_get_named_property(env, object, name, &value);
  return value;
}

bool bytesOf(napi_env env, napi_value value, uint8_t*& data, size_t& length) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, &length, reinterpret_cast<void**>(&data), nullptr, nullptr) ==
             napi_ok &&
         type == napi_uint8_array;
}

bool doublesOf(napi_env env, napi_value value, const double*& data, size_t& count) {
  napi_typedarray_type type;
  void* memory = nullptr;
  bool good = napi_get_typedarray_info(env, value, &type, &count, &memory, nullptr, nullptr) == napi_ok &&
              type == napi_float64_array;
  data = static_cast<const double*>(memory);
  return good;
}

std::vector<Range> rangesOf(napi_env env, napi_value value) {
  std::vector<Range> out;
  const double* numbers = nullptr;
  size_t length = 0;
  if (!doublesOf(env, value, numbers, length)) return out;
  for (size_t i = 0; i + 1 < length; i += 2) {
    Range range;
    if (wholeNumber(numbers[i], range.begin) && wholeNumber(numbers[i + 1], range.end)) out.push_back(range);
  }
  return out;
}

napi_value toBoolean(napi_env env, bool value) {
  napi_value out = nullptr;
  napi_get_boolean(env, value, &out);
  return out;
}

napi_value toNumber(napi_env env, double value) {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}

napi_value toText(napi_env env, const std::string& value) {
  napi_value out = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &out);
  return out;
}

napi_value fail(napi_env env, const char* message) {
  napi_throw_error(env, nullptr, message);
  return nullptr;
}

void setMethods(napi_env env, napi_value object, const std::vector<Method>& methods, void* data) {
  for (const Method& method : methods) {
    napi_value function = nullptr;
    napi_create_function(env, method.name, NAPI_AUTO_LENGTH, method.body, data, &function);
    napi_set_named_property(env, object, method.name, function);
  }
}

napi_value promise(napi_env env, const char* name, std::function<void()> run,
                   std::function<napi_value(napi_env)> result) {
  auto work = std::make_unique<Work>();
  work->run = std::move(run);
  work->result = std::move(result);
  napi_value out = nullptr, label = nullptr;
  napi_create_promise(env, &work->deferred, &out);
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label);
  const napi_status made = napi_create_async_work(
      env, nullptr, label,
      [](napi_env, void* data) {
        const OrdinaryWork ordinary;
        static_cast<Work*>(data)->run();
      },
      [](napi_env env, napi_status, void* data) {
        std::unique_ptr<Work> work(static_cast<Work*>(data));
        napi_resolve_deferred(env, work->deferred, work->result(env));
        napi_delete_async_work(env, work->work);
      },
      work.get(), &work->work);
  if (made != napi_ok || napi_queue_async_work(env, work->work) != napi_ok) return fail(env, "cannot start work on the thread pool");
  work.release();
  return out;
}

}  // namespace imgfs::fuse
