// Entry point of the addon: lets every part register itself.
#include "modules.h"

namespace {

// Raised with every change of what JavaScript sees, together with `addonAbi` in src/addon/load-addon.ts: a stale
// build is refused instead of being called with the wrong arguments.
constexpr uint32_t kAbi = 3;

}  // namespace

NAPI_MODULE_INIT() {
  napi_value abi;
  if (napi_create_uint32(env, kAbi, &abi) != napi_ok) return nullptr;
  if (napi_set_named_property(env, exports, "abi", abi) != napi_ok) return nullptr;
  imgfs::registerFuse(env, exports);
  imgfs::registerLayer(env, exports);
  imgfs::registerArchive(env, exports);
  imgfs::registerReceive(env, exports);
  imgfs::registerThread(env, exports);
  imgfs::registerFolder(env, exports);
  return exports;
}
