#include "modules.h"

namespace imgfs {

void registerFuse(napi_env env, napi_value exports) {
  napi_value module;
  if (napi_create_object(env, &module) != napi_ok) return;
  napi_set_named_property(env, exports, "fuse", module);
}

}  // namespace imgfs
