// Values of JavaScript in and out: small readers that answer with a default where the value is something else.
#pragma once

#include <node_api.h>

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
