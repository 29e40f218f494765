// Objects of ours that JavaScript holds, told apart from others' by a tag.
#pragma once

#include <memory>

#include "fuse/napi-values.h"

namespace imgfs {

// What an external of ours holds; null for everything else.
template <typename T>
T* externalOf(napi_env env, napi_value value, const napi_type_tag& tag) {
  napi_valuetype type = napi_undefined;
  bool ours = false;
  void* data = nullptr;
  if (value == nullptr || napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  if (napi_check_object_type_tag(env, value, &tag, &ours) != napi_ok || !ours) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<T*>(data) : nullptr;
}

template <typename T>
napi_value externalFor(napi_env env, std::unique_ptr<T> held, const napi_type_tag& tag) {
  napi_value out = nullptr;
  const auto destroy = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
  if (napi_create_external(env, held.get(), destroy, nullptr, &out) != napi_ok) return fuse::fail(env, "out of memory");
  held.release();
  napi_type_tag_object(env, out, &tag);
  return out;
}

}  // namespace imgfs
