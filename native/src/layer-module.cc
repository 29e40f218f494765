// What JavaScript sees of the layer code: src/layer/native/layer-addon.ts has the types.
#include "layer-calls.h"
#include "modules.h"

namespace imgfs {

void registerLayer(napi_env env, napi_value exports) {
  napi_value module;
  if (napi_create_object(env, &module) != napi_ok) return;
  addIndexCalls(env, module);
  addSpanCalls(env, module);
  addFileCalls(env, module);
  napi_set_named_property(env, exports, "layer", module);
}

}  // namespace imgfs
