// The FUSE session as JavaScript sees it (typed in src/fuse/native/addon-fuse.ts).
//
// Jobs go to JavaScript in batches through one shared buffer, twelve 64-bit words each:
//   0 kind   1 id   2 inode   3 uid   4 gid   5 pid   6 a   7 b   8 c   9 name offset   10 name length   (doubles)
//  11 cookie (unsigned 64-bit)
// Names lie in a second buffer. Numbers come back as arguments; attributes and directory pages as packed entries.
#include <errno.h>
#include <sys/resource.h>

#include <cstring>
#include <memory>

#include "../modules.h"
#include "mount.h"
#include "session.h"

namespace imgfs {
namespace {

using namespace fuse;

constexpr size_t kWords = 12;
// One call into JavaScript: enough to make its cost small, and a batch of lookups fits into 128 x 256 bytes of names.
constexpr size_t kBatch = 128;
constexpr size_t kMaxName = 256;
// After that long the loop gets a turn for other things.
constexpr Millis kDrainSlice = 5;

struct Binding {
  napi_env env = nullptr;
  napi_threadsafe_function wake = nullptr;
  napi_ref onBatch = nullptr;
  napi_ref words = nullptr;
  napi_ref names = nullptr;
  napi_ref packed = nullptr;  // one packed entry, for answers with attributes
  std::unique_ptr<Session> session;
  // How to unmount when the environment ends without having done so.
  std::string mountPoint;
  std::string helper;
};

bool number(napi_env env, napi_value value, double& out) { return napi_get_value_double(env, value, &out) == napi_ok; }

uint64_t whole(napi_env env, napi_value value) {
  double given = -1;
  uint64_t out = 0;
  return number(env, value, given) && wholeNumber(given, out) ? out : 0;
}

bool flag(napi_env env, napi_value value) {
  bool out = false;
  napi_get_value_bool(env, value, &out);
  return out;
}

std::string text(napi_env env, napi_value value, bool latin1 = false) {
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

bool bytes(napi_env env, napi_value value, uint8_t*& data, size_t& length) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, &length, reinterpret_cast<void**>(&data), nullptr, nullptr) ==
             napi_ok &&
         type == napi_uint8_array;
}

std::vector<Range> ranges(napi_env env, napi_value value) {
  std::vector<Range> out;
  napi_typedarray_type type;
  size_t length = 0;
  double* numbers = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, reinterpret_cast<void**>(&numbers), nullptr, nullptr) !=
          napi_ok ||
      type != napi_float64_array)
    return out;
  for (size_t i = 0; i + 1 < length; i += 2) {
    Range range;
    if (wholeNumber(numbers[i], range.begin) && wholeNumber(numbers[i + 1], range.end)) out.push_back(range);
  }
  return out;
}

napi_value boolean(napi_env env, bool value) {
  napi_value out = nullptr;
  napi_get_boolean(env, value, &out);
  return out;
}

napi_value fail(napi_env env, const char* message) {
  napi_throw_error(env, nullptr, message);
  return nullptr;
}

// Arguments of one call, and the session it belongs to.
struct Call {
  Call(napi_env env, napi_callback_info info) : env(env) {
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
    binding = static_cast<Binding*>(data);
  }
  Server* server() const { return binding->session ? &binding->session->server() : nullptr; }
  napi_value operator[](size_t i) const { return arguments[i]; }
  uint64_t whole(size_t i) const { return imgfs::whole(env, arguments[i]); }

  napi_env env;
  size_t count = 7;
  napi_value arguments[7] = {};
  Binding* binding = nullptr;
};

// The packed entry that JavaScript has written.
bool packedEntry(const Call& call, PackedEntry& out) {
  napi_value buffer = nullptr;
  uint8_t* data = nullptr;
  size_t length = 0, at = 0;
  return napi_get_reference_value(call.env, call.binding->packed, &buffer) == napi_ok &&
         bytes(call.env, buffer, data, length) && unpackEntry(data, length, at, out);
}

napi_value replyError(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return boolean(env, call.server() && call.server()->replyError(call.whole(0), static_cast<int>(call.whole(1))));
}

napi_value replyEntry(napi_env env, napi_callback_info info) {
  Call call(env, info);
  PackedEntry entry;
  if (!packedEntry(call, entry)) return fail(env, "malformed entry");
  return boolean(env, call.server() && call.server()->replyEntry(call.whole(0), entry));
}

napi_value replyNegative(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return boolean(env, call.server() && call.server()->replyNegative(call.whole(0), call.whole(1)));
}

napi_value replyAttributes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  PackedEntry entry;
  if (!packedEntry(call, entry)) return fail(env, "malformed attributes");
  return boolean(env, call.server() && call.server()->replyAttributes(call.whole(0), entry));
}

napi_value replyBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytes(env, call[1], data, length)) return fail(env, "replyBytes wants a Uint8Array");
  length = std::min<size_t>(length, call.whole(2));
  return boolean(env, call.server() && call.server()->replyBytes(call.whole(0), data, length));
}

napi_value replyStatfs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  StatfsOut out{};
  out.bsize = static_cast<uint32_t>(call.whole(1));
  out.frsize = out.bsize;
  out.blocks = call.whole(2);
  out.bfree = out.bavail = call.whole(3);
  out.files = call.whole(4);
  out.namelen = static_cast<uint32_t>(call.whole(5));
  return boolean(env, call.server() && call.server()->replyStatfs(call.whole(0), out));
}

// id, handle, flags (1 keepCache, 2 directIo, 4 complete), fd or -1, base offset, present ranges
napi_value replyOpen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  OpenAnswer answer;
  answer.script = call.whole(1);
  uint64_t flags = call.whole(2);
  answer.keepCache = (flags & 1) != 0;
  answer.directIo = (flags & 2) != 0;
  answer.complete = (flags & 4) != 0;
  int32_t fd = -1;
  napi_get_value_int32(env, call[3], &fd);
  answer.fd = fd;
  answer.base = call.whole(4);
  if (call.count > 5) answer.present = ranges(env, call[5]);
  Delivery delivery = call.server() ? call.server()->replyOpen(call.whole(0), answer) : Delivery::kGone;
  napi_value out = nullptr;
  napi_create_uint32(env, static_cast<uint32_t>(delivery), &out);
  return out;
}

// id, handle, flags (1 keepCache, 4 complete)
napi_value replyOpendir(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint64_t flags = call.whole(2);
  return boolean(env, call.server() && call.server()->replyOpendir(call.whole(0), call.whole(1), (flags & 1) != 0,
                                                                  (flags & 4) != 0));
}

// id, page, length of it in bytes, whether it is the last
napi_value replyReaddir(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytes(env, call[1], data, length)) return fail(env, "replyReaddir wants a Uint8Array");
  length = std::min<size_t>(length, call.whole(2));
  return boolean(env, call.server() && call.server()->replyReaddir(call.whole(0), data, length, flag(env, call[3])));
}

// directory, entries of all of it, length in bytes; false when the caller has to undo the lookups
napi_value putListing(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytes(env, call[1], data, length)) return fail(env, "putListing wants a Uint8Array");
  length = std::min<size_t>(length, call.whole(2));
  return boolean(env, call.server() && call.server()->putListing(call.whole(0), data, length));
}

// fill id, errno, flags (1 use read, 4 complete), present ranges
napi_value fillDone(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint64_t flags = call.whole(2);
  std::vector<Range> present;
  if (call.count > 3) present = ranges(env, call[3]);
  if (call.server())
    call.server()->fillDone(call.whole(0), static_cast<int>(call.whole(1)), (flags & 1) != 0, (flags & 4) != 0, present);
  return nullptr;
}

// id, handle, flags (1 keepCache, 2 directIo); the entry is packed
napi_value replyCreate(napi_env env, napi_callback_info info) {
  Call call(env, info);
  PackedEntry entry;
  if (!packedEntry(call, entry)) return fail(env, "malformed entry");
  OpenAnswer answer;
  answer.script = call.whole(1);
  answer.keepCache = (call.whole(2) & 1) != 0;
  answer.directIo = (call.whole(2) & 2) != 0;
  Delivery delivery = call.server() ? call.server()->replyCreate(call.whole(0), entry, answer) : Delivery::kGone;
  napi_value out = nullptr;
  napi_create_uint32(env, static_cast<uint32_t>(delivery), &out);
  return out;
}

napi_value replyCount(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return boolean(env, call.server() && call.server()->replyCount(call.whole(0), call.whole(1)));
}

// id, buffer; how many bytes were put there
napi_value takePayload(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytes(env, call[1], data, length)) return fail(env, "takePayload wants a Uint8Array");
  napi_value out = nullptr;
  size_t taken = call.server() ? call.server()->takePayload(call.whole(0), data, length) : 0;
  napi_create_double(env, static_cast<double>(taken), &out);
  return out;
}

napi_value putAttributes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  PackedEntry entry;
  if (!packedEntry(call, entry)) return fail(env, "malformed attributes");
  if (call.server()) call.server()->putAttributes(entry);
  return nullptr;
}

napi_value expireEntry(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.binding->session) call.binding->session->notify({true, call.whole(0), text(env, call[1], true)});
  return nullptr;
}

napi_value expireAttributes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.binding->session) call.binding->session->notify({false, call.whole(0), ""});
  return nullptr;
}

napi_value statistics(napi_env env, napi_callback_info info) {
  Call call(env, info);
  napi_value out = nullptr;
  napi_create_object(env, &out);
  auto set = [&](const char* name, double value) {
    napi_value amount = nullptr;
    napi_create_double(env, value, &amount);
    napi_set_named_property(env, out, name, amount);
  };
  Server* server = call.server();
  if (server == nullptr) return out;
  for (size_t i = 0; i < kCounterEnd; ++i)
    set(kCounterNames[i], static_cast<double>(server->counter(static_cast<fuse::Counter>(i))));
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

// Work on a thread of libuv's pool, answered by a promise.
struct Work {
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  std::function<void()> run;
  std::function<napi_value(napi_env)> result;
};

napi_value promise(napi_env env, const char* name, std::function<void()> run,
                   std::function<napi_value(napi_env)> result) {
  auto* work = new Work;
  work->run = std::move(run);
  work->result = std::move(result);
  napi_value out = nullptr, label = nullptr;
  napi_create_promise(env, &work->deferred, &out);
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label);
  napi_create_async_work(
      env, nullptr, label, [](napi_env, void* data) { static_cast<Work*>(data)->run(); },
      [](napi_env env, napi_status, void* data) {
        std::unique_ptr<Work> work(static_cast<Work*>(data));
        napi_resolve_deferred(env, work->deferred, work->result(env));
        napi_delete_async_work(env, work->work);
      },
      work, &work->work);
  napi_queue_async_work(env, work->work);
  return out;
}

void setText(napi_env env, napi_value object, const char* name, const std::string& value) {
  napi_value string = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &string);
  napi_set_named_property(env, object, name, string);
}

void setNumber(napi_env env, napi_value object, const char* name, int32_t value) {
  napi_value amount = nullptr;
  napi_create_int32(env, value, &amount);
  napi_set_named_property(env, object, name, amount);
}

napi_value mountJs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  MountRequest request;
  request.mountPoint = text(env, property(env, call[0], "mountPoint"));
  request.fsName = text(env, property(env, call[0], "fsName"));
  request.helper = text(env, property(env, call[0], "helper"));
  request.readOnly = flag(env, property(env, call[0], "readOnly"));
  request.allowOther = flag(env, property(env, call[0], "allowOther"));
  request.maxRead = static_cast<uint32_t>(imgfs::whole(env, property(env, call[0], "maxRead")));
  auto result = std::make_shared<MountResult>();
  return promise(
      env, "imgfs.mount", [request, result] { *result = mountFuse(request); },
      [result](napi_env env) {
        napi_value out = nullptr;
        napi_create_object(env, &out);
        setNumber(env, out, "fd", result->fd);
        setNumber(env, out, "error", result->error);
        setText(env, out, "step", result->step);
        setText(env, out, "output", result->output);
        return out;
      });
}

napi_value unmountJs(napi_env env, napi_callback_info info) {
  Call call(env, info);
  std::string mountPoint = text(env, call[0]), helper = text(env, call[1]);
  bool lazy = flag(env, call[2]);
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
        setNumber(env, out, "error", result->error);
        setText(env, out, "output", result->output);
        return out;
      });
}

// Ends the wake-ups and takes the session out, so that it can be waited for elsewhere.
std::unique_ptr<Session> detach(Binding& binding) {
  if (!binding.session) return nullptr;
  binding.session->jobs().setWake(nullptr);
  if (binding.wake != nullptr) napi_release_threadsafe_function(binding.wake, napi_tsfn_release);
  binding.wake = nullptr;
  for (napi_ref* reference : {&binding.onBatch, &binding.words, &binding.names, &binding.packed}) {
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
      [ended](napi_env env) { return boolean(env, *ended); });
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

void encodeBatch(const std::vector<Job>& batch, double* words, uint8_t* names) {
  size_t nameAt = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const Job& job = batch[i];
    double* to = words + i * kWords;
    to[0] = job.kind;
    to[1] = static_cast<double>(job.id);
    to[2] = static_cast<double>(job.nodeid);
    to[3] = job.uid;
    to[4] = job.gid;
    to[5] = job.pid;
    to[6] = static_cast<double>(job.a);
    to[7] = static_cast<double>(job.b);
    to[8] = static_cast<double>(job.c);
    to[9] = static_cast<double>(nameAt);
    to[10] = static_cast<double>(job.name.size());
    std::memcpy(to + 11, &job.cookie, sizeof(job.cookie));
    std::memcpy(names + nameAt, job.name.data(), job.name.size());
    nameAt += job.name.size();
  }
}

void drain(napi_env env, napi_value, void* context, void*) {
  auto* binding = static_cast<Binding*>(context);
  if (env == nullptr || !binding->session) return;
  napi_value undefined = nullptr;
  napi_get_undefined(env, &undefined);
  Millis until = nowMillis() + kDrainSlice;
  std::vector<Job> batch;
  // The session may be closed by the callback itself.
  while (binding->session) {
    batch.clear();
    bool more = binding->session->jobs().take(batch, kBatch, kBatch * kMaxName);
    if (batch.empty()) return;
    napi_handle_scope scope = nullptr;
    napi_open_handle_scope(env, &scope);
    napi_value callback = nullptr, wordsValue = nullptr, namesValue = nullptr, amount = nullptr;
    napi_get_reference_value(env, binding->onBatch, &callback);
    napi_get_reference_value(env, binding->words, &wordsValue);
    napi_get_reference_value(env, binding->names, &namesValue);
    void* words = nullptr;
    uint8_t* names = nullptr;
    size_t wordsLength = 0, namesLength = 0;
    napi_get_arraybuffer_info(env, wordsValue, &words, &wordsLength);
    bytes(env, namesValue, names, namesLength);
    if (wordsLength >= kBatch * kWords * 8 && namesLength >= kBatch * kMaxName) {
      encodeBatch(batch, static_cast<double*>(words), names);
      napi_create_uint32(env, static_cast<uint32_t>(batch.size()), &amount);
      napi_call_function(env, undefined, callback, 1, &amount, nullptr);
    }
    bool thrown = false;
    napi_is_exception_pending(env, &thrown);
    if (thrown) {
      // The dispatcher catches everything; what comes through is a defect of its own and must not end the mount.
      napi_value error = nullptr;
      napi_get_and_clear_last_exception(env, &error);
    }
    napi_close_handle_scope(env, scope);
    if (more && nowMillis() >= until && binding->wake != nullptr) {
      napi_call_threadsafe_function(binding->wake, nullptr, napi_tsfn_nonblocking);
      return;
    }
  }
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
  binding->mountPoint = text(env, property(env, options, "mountPoint"));
  binding->helper = text(env, property(env, options, "helper"));
  ServerConfig config;
  config.operationTimeout = imgfs::whole(env, property(env, options, "operationTimeoutMs"));
  config.slowTimeout = imgfs::whole(env, property(env, options, "slowTimeoutMs"));
  config.writable = flag(env, property(env, options, "writable"));
  config.maxRead = static_cast<uint32_t>(imgfs::whole(env, property(env, options, "maxRead")));
  if (config.maxRead < 4096 || config.maxRead > 1048576) return fail(env, "maxRead must be 4096 to 1048576 bytes");
  config.passthrough = flag(env, property(env, options, "passthrough"));
  // An eighth of the descriptors may be held by files that nobody has open.
  config.maxSealed = std::min<size_t>(config.maxSealed, raiseFileLimit() / 8);
  int32_t fd = -1;
  napi_get_value_int32(env, property(env, options, "fd"), &fd);
  uint32_t readers = static_cast<uint32_t>(imgfs::whole(env, property(env, options, "readers")));
  if (fd < 0 || readers < 1 || readers > 64) return fail(env, "start wants a descriptor and 1 to 64 readers");

  napi_value callback = property(env, options, "onBatch");
  napi_value label = nullptr;
  napi_create_string_utf8(env, "imgfs.fuse", NAPI_AUTO_LENGTH, &label);
  if (napi_create_threadsafe_function(env, nullptr, nullptr, label, 0, 1, nullptr, nullptr, binding.get(), drain,
                                      &binding->wake) != napi_ok)
    return fail(env, "no thread-safe function");
  napi_create_reference(env, callback, 1, &binding->onBatch);
  napi_create_reference(env, property(env, options, "words"), 1, &binding->words);
  napi_create_reference(env, property(env, options, "names"), 1, &binding->names);
  napi_create_reference(env, property(env, options, "packed"), 1, &binding->packed);
  binding->session = std::make_unique<Session>(fd, readers, config);
  Binding* raw = binding.release();
  napi_add_env_cleanup_hook(env, cleanup, raw);
  raw->session->jobs().setWake(
      [wake = raw->wake] { napi_call_threadsafe_function(wake, nullptr, napi_tsfn_nonblocking); });

  const std::pair<const char*, napi_callback> methods[] = {
      {"replyError", replyError},       {"replyEntry", replyEntry},       {"replyNegative", replyNegative},
      {"replyAttributes", replyAttributes}, {"replyBytes", replyBytes},   {"replyStatfs", replyStatfs},
      {"replyOpen", replyOpen},         {"replyOpendir", replyOpendir},   {"replyReaddir", replyReaddir},
      {"replyCreate", replyCreate}, {"replyCount", replyCount}, {"takePayload", takePayload},
      {"fillDone", fillDone},           {"putAttributes", putAttributes}, {"putListing", putListing}, {"expireEntry", expireEntry},
      {"expireAttributes", expireAttributes}, {"statistics", statistics}, {"stop", stop},
      {"run", run},
      {"close", closeJs},
  };
  napi_value out = nullptr;
  napi_create_object(env, &out);
  for (const auto& [name, method] : methods) {
    napi_value function = nullptr;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, method, raw, &function);
    napi_set_named_property(env, out, name, function);
  }
  return out;
}

}  // namespace

void registerFuse(napi_env env, napi_value exports) {
  napi_value module = nullptr;
  if (napi_create_object(env, &module) != napi_ok) return;
  const std::pair<const char*, napi_callback> functions[] = {
      {"mount", mountJs}, {"unmount", unmountJs}, {"start", startJs}};
  for (const auto& [name, body] : functions) {
    napi_value function = nullptr;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, body, nullptr, &function);
    napi_set_named_property(env, module, name, function);
  }
  napi_set_named_property(env, exports, "fuse", module);
}

}  // namespace imgfs
