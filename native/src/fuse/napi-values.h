// Values of JavaScript in and out: small readers that answer with a default where the value is something else.
#pragma once

#include <node_api.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "range-set.h"

namespace imgfs::fuse {

// A whole number of [0, 2^53]; 0 for everything else.
uint64_t wholeOf(napi_env env, napi_value value);
bool flagOf(napi_env env, napi_value value);
std::string textOf(napi_env env, napi_value value, bool latin1 = false);
napi_value property(napi_env env, napi_value object, const char* name);
// Memory of a Uint8Array; false for everything else.
bool bytesOf(napi_env env, napi_value value, uint8_t*& data, size_t& length);
// Memory of a Float64Array; false for everything else.
bool doublesOf(napi_env env, napi_value value, const double*& data, size_t& count);
// Pairs of begin and end in a Float64Array.
std::vector<Range> rangesOf(napi_env env, napi_value value);

napi_value toBoolean(napi_env env, bool value);
napi_value toNumber(napi_env env, double value);

// A Float64Array of all fields of the records.
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

napi_value toText(napi_env env, const std::string& value);
// Throws a JavaScript Error.
napi_value fail(napi_env env, const char* message);

struct Method {
  const char* name;
  napi_callback body;
};
// Sets functions on an object; each gets `data`.
void setMethods(napi_env env, napi_value object, const std::vector<Method>& methods, void* data);

// Runs work on a thread of libuv's pool; the promise resolves to what `result` makes of it.
napi_value promise(napi_env env, const char* name, std::function<void()> run,
                   std::function<napi_value(napi_env)> result);

}  // namespace imgfs::fuse
