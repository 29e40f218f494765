// Mounting and unmounting for JavaScript, on threads of the pool: both may wait for a helper.
#include "binding.h"
#include "mount.h"

namespace imgfs::fuse {
namespace {

napi_value mountJs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  MountRequest request;
  request.mountPoint = textOf(env, property(env, call[0], "mountPoint"));
  request.fsName = textOf(env, property(env, call[0], "fsName"));
  request.helper = textOf(env, property(env, call[0], "helper"));
  request.readOnly = flagOf(env, property(env, call[0], "readOnly"));
  request.allowOther = flagOf(env, property(env, call[0], "allowOther"));
  request.maxRead = static_cast<uint32_t>(wholeOf(env, property(env, call[0], "maxRead")));
  auto result = std::make_shared<MountResult>();
  return promise(
      env, "imgfs.mount", [request, result] { *result = mountFuse(request); },
      [result](napi_env env) {
        napi_value out = nullptr;
        napi_create_object(env, &out);
        napi_set_named_property(env, out, "fd", toNumber(env, result->fd));
        napi_set_named_property(env, out, "error", toNumber(env, result->error));
        napi_set_named_property(env, out, "step", toText(env, result->step));
        napi_set_named_property(env, out, "output", toText(env, result->output));
        return out;
      });
}

napi_value unmountJs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string mountPoint = textOf(env, call[0]), helper = textOf(env, call[1]);
  bool lazy = flagOf(env, call[2]);
  struct Result {
    int error = 0;
    std::string output;
  };
  auto result = std::make_shared<Result>();
  return promise(
      env, "imgfs.unmount",
      [=] { result->error = unmountFuse(mountPoint, helper, lazy, result->output); },
      [result](napi_env env) {
        napi_value out = nullptr;
        napi_create_object(env, &out);
        napi_set_named_property(env, out, "error", toNumber(env, result->error));
        napi_set_named_property(env, out, "output", toText(env, result->output));
        return out;
      });
}

}  // namespace

const std::vector<Method>& mountMethods() {
  static const std::vector<Method> methods = {{"mount", mountJs}, {"unmount", unmountJs}};
  return methods;
}

}  // namespace imgfs::fuse
