// The FUSE session as JavaScript sees it (typed in src/fuse/native/addon-fuse.ts): its life.
#include "binding.h"

#include <errno.h>
#include <sys/resource.h>

#include "../modules.h"
#include "mount.h"

namespace imgfs {
namespace fuse {
namespace {

napi_value statistics(napi_env env, napi_callback_info info) {
  Call call(env, info);
  napi_value out = nullptr;
  napi_create_object(env, &out);
  auto set = [&](const char* name, double value) { napi_set_named_property(env, out, name, toNumber(env, value)); };
  Server* server = call.server();
  if (server == nullptr) return out;
  for (size_t i = 0; i < kCounterEnd; ++i)
    set(kCounterNames[i], static_cast<double>(server->counter(static_cast<Counter>(i))));
  Server::Gauges gauges = server->gauges();
  set("inodes", static_cast<double>(gauges.inodes));
  set("listedEntries", static_cast<double>(gauges.listed));
  set("handles", static_cast<double>(gauges.handles));
  set("pending", static_cast<double>(gauges.pending));
  set("sealedFiles", static_cast<double>(gauges.sealed));
  set("backingFiles", static_cast<double>(gauges.openFiles));
  return out;
}

napi_value stop(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.binding->session) call.binding->session->stop();
  return nullptr;
}

// Ends the wake-ups and takes the session out, so that it can be waited for elsewhere.
std::unique_ptr<Session> detach(Binding& binding) {
  if (!binding.session) return nullptr;
  binding.session->jobs().setWake(nullptr);
  if (binding.wake != nullptr) napi_release_threadsafe_function(binding.wake, napi_tsfn_release);
  binding.wake = nullptr;
  for (napi_ref* reference : {&binding.onBatch, &binding.onShareUsed, &binding.words, &binding.names, &binding.packed}) {
    if (*reference != nullptr) napi_delete_reference(binding.env, *reference);
    *reference = nullptr;
  }
  return std::move(binding.session);
}

// Resolves to true when all threads have ended. A session that does not end is left alone: freeing what its threads
// use would be worse.
napi_value closeJs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::shared_ptr<Session*> held = std::make_shared<Session*>(detach(*call.binding).release());
  auto ended = std::make_shared<bool>(true);
  return promise(
      env, "imgfs.close",
      [held, ended] {
        if (*held == nullptr) return;
        (*held)->stop();
        *ended = (*held)->waitFinished(5000);
        if (*ended) delete *held;
      },
      [ended](napi_env env) { return toBoolean(env, *ended); });
}

// The environment ends (process.exit, a worker that is terminated): the mount must not outlive it.
void cleanup(void* data) {
  std::unique_ptr<Binding> binding(static_cast<Binding*>(data));
  std::unique_ptr<Session> session = detach(*binding);
  if (!session) return;
  std::string output;
  unmountFuse(binding->mountPoint, binding->helper, true, output);
  session->stop();
  if (!session->waitFinished(2000)) session.release();
}

// A descriptor for each open file on disk: the soft limit of 1024 is for programs that use select(2).
size_t raiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur == RLIM_INFINITY ? 1u << 20 : static_cast<size_t>(limit.rlim_cur);
}

// Threads start apart from `start`, so that JavaScript can put the root's attributes first.
napi_value run(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.binding->session) call.binding->session->start();
  return nullptr;
}

napi_value startJs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  napi_value options = call[0];
  auto binding = std::make_unique<Binding>();
  binding->env = env;
  binding->mountPoint = textOf(env, property(env, options, "mountPoint"));
  binding->helper = textOf(env, property(env, options, "helper"));
  ServerConfig config;
  config.operationTimeout = wholeOf(env, property(env, options, "operationTimeoutMs"));
  config.slowTimeout = wholeOf(env, property(env, options, "slowTimeoutMs"));
  config.writable = flagOf(env, property(env, options, "writable"));
  config.maxRead = static_cast<uint32_t>(wholeOf(env, property(env, options, "maxRead")));
  if (config.maxRead < 4096 || config.maxRead > 1048576) return fail(env, "maxRead must be 4096 to 1048576 bytes");
  config.allXattrs = flagOf(env, property(env, options, "allXattrs"));
  config.passthrough = flagOf(env, property(env, options, "passthrough"));
  config.withoutFlags = wholeOf(env, property(env, options, "withoutFlags"));
  uint64_t mostMinor = wholeOf(env, property(env, options, "mostMinor"));
  if (mostMinor >= kOldestMinor && mostMinor < kMinor) config.mostMinor = static_cast<uint32_t>(mostMinor);
  // An eighth of the descriptors may be held by files that nobody has open.
  config.maxSealed = std::min<size_t>(config.maxSealed, raiseFileLimit() / 8);
  int32_t fd = -1;
  napi_get_value_int32(env, property(env, options, "fd"), &fd);
  uint32_t readers = static_cast<uint32_t>(wholeOf(env, property(env, options, "readers")));
  if (fd < 0 || readers < 1 || readers > 64) return fail(env, "start wants a descriptor and 1 to 64 readers");

  napi_value callback = property(env, options, "onBatch");
  napi_value label = nullptr;
  napi_create_string_utf8(env, "imgfs.fuse", NAPI_AUTO_LENGTH, &label);
  if (napi_create_threadsafe_function(env, nullptr, nullptr, label, 0, 1, nullptr, nullptr, binding.get(), drainJobs,
                                      &binding->wake) != napi_ok)
    return fail(env, "no thread-safe function");
  napi_create_reference(env, callback, 1, &binding->onBatch);
  napi_create_reference(env, property(env, options, "onShareUsed"), 1, &binding->onShareUsed);
  napi_create_reference(env, property(env, options, "words"), 1, &binding->words);
  napi_create_reference(env, property(env, options, "names"), 1, &binding->names);
  napi_create_reference(env, property(env, options, "packed"), 1, &binding->packed);
  binding->session = std::make_unique<Session>(fd, readers, config);
  Binding* raw = binding.release();
  napi_add_env_cleanup_hook(env, cleanup, raw);
  raw->session->jobs().setWake(
      [wake = raw->wake] { napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking); });

  napi_value out = nullptr;
  napi_create_object(env, &out);
  setMethods(env, out, answerMethods(), raw);
  setMethods(env, out, {{"statistics", statistics}, {"nextTurn", nextTurn}, {"run", run}, {"stop", stop}, {"close", closeJs}}, raw);
  return out;
}

}  // namespace
}  // namespace fuse

void registerFuse(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  std::vector<fuse::Method> methods = fuse::mountMethods();
  methods.push_back({"start", fuse::startJs});
  fuse::setMethods(env, module, methods, nullptr);
  napi_set_named_property(env, exports, "fuse", module);
}

}  // namespace imgfs
