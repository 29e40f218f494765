// `exports.receive`: bodies from connections into files, and digests that follow them. src/addon/receive-addon.ts has
// the types.
#include <pthread.h>

#include <thread>

#include "../fuse/napi-values.h"
#include "../modules.h"
#include "../tagged-external.h"
#include "receiver.h"

namespace imgfs {

namespace {

using fuse::fail;
using fuse::textOf;
using fuse::toNumber;
using fuse::toText;
using fuse::wholeOf;

using SharedDigest = std::shared_ptr<RunningDigest>;

struct Arguments {
  Arguments(napi_env env, napi_callback_info info) { napi_get_cb_info(env, info, &count, values, nullptr, nullptr); }
  size_t count = 8;
  napi_value values[8] = {};
};

constexpr napi_type_tag kDigestTag = {0x9b1d0c52f1a54c0e, 0xa1c2f8e7d3b64501};
constexpr napi_type_tag kReceiverTag = {0x9b1d0c52f1a54c0e, 0xa1c2f8e7d3b64502};

// algorithm
napi_value createDigest(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  const std::string name = textOf(env, in.values[0]);
  BlobHash::Algorithm algorithm = BlobHash::Algorithm::none;
  if (name == "sha256") algorithm = BlobHash::Algorithm::sha256;
  if (name == "sha512") algorithm = BlobHash::Algorithm::sha512;
  if (algorithm == BlobHash::Algorithm::none) return nullptr;
  return externalFor(env, std::make_unique<SharedDigest>(std::make_shared<RunningDigest>(algorithm)), kDigestTag);
}

SharedDigest digestOf(napi_env env, napi_value value) {
  const auto* held = externalOf<SharedDigest>(env, value, kDigestTag);
  return held == nullptr ? nullptr : *held;
}

napi_value digestPosition(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  const SharedDigest digest = digestOf(env, in.values[0]);
  return digest ? toNumber(env, static_cast<double>(digest->position())) : fail(env, "not a digest");
}

// digest, fd, end; an errno, or 0
napi_value digestFile(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  const SharedDigest digest = digestOf(env, in.values[0]);
  if (!digest) return fail(env, "not a digest");
  const int file = static_cast<int>(wholeOf(env, in.values[1]));
  const uint64_t end = wholeOf(env, in.values[2]);
  const auto error = std::make_shared<int>(0);
  return fuse::promise(
      env, "imgfs:digestFile", [=] { *error = digest->advance(file, end); },
      [=](napi_env inner) { return toNumber(inner, *error); });
}

// digest, bytes
napi_value digestFeed(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  const SharedDigest digest = digestOf(env, in.values[0]);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!digest || !fuse::bytesOf(env, in.values[1], data, length)) return fail(env, "not a digest and bytes");
  const auto bytes = std::make_shared<std::vector<uint8_t>>(data, data + length);
  return fuse::promise(
      env, "imgfs:digestFeed", [=] { digest->feed(bytes->data(), bytes->size()); },
      [](napi_env inner) { return toNumber(inner, 0); });
}

napi_value digestFinish(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  const SharedDigest digest = digestOf(env, in.values[0]);
  return digest ? toText(env, digest->finish()) : fail(env, "not a digest");
}

// One transfer: a thread, and its way back to JavaScript. Lives until its end was told and its handle is gone.
class Transfer : public std::enable_shared_from_this<Transfer> {
 public:
  explicit Transfer(ReceiveOrder order) : receiver_(std::move(order)) {}

  // False when there is no way to start it.
  bool start(napi_env env, napi_value callback) {
    napi_value label = nullptr;
    napi_create_string_utf8(env, "imgfs:receive", NAPI_AUTO_LENGTH, &label);
    if (napi_create_threadsafe_function(env, callback, nullptr, label, 0, 1, nullptr, nullptr, this, onCall, &tell_) !=
        napi_ok) {
      return false;
    }
    self_ = shared_from_this();
    napi_add_env_cleanup_hook(env, onEnvironmentEnd, this);
    thread_ = std::thread([this] { run(); });
    return true;
  }

  void abort() { receiver_.abort(); }

 private:
  enum : uint32_t { kRunning = 99 };

  void run() {
#ifdef __linux__
    pthread_setname_np(pthread_self(), "imgfs-receive");
#endif
    outcome_ = static_cast<uint32_t>(receiver_.run([this] { call(); }));
    ended_.store(true, std::memory_order_release);
    call();
    napi_release_threadsafe_function(tell_, napi_tsfn_release);
  }

  // At most one call is on its way.
  void call() {
    if (!calling_.exchange(true)) napi_call_threadsafe_function(tell_, nullptr, napi_tsfn_nonblocking);
  }

  static void onCall(napi_env env, napi_value callback, void* context, void*) {
    if (env != nullptr) static_cast<Transfer*>(context)->toScript(env, callback);
  }

  void toScript(napi_env env, napi_value callback) {
    calling_.store(false);
    if (told_) return;
    const bool ended = ended_.load(std::memory_order_acquire);
    napi_value arguments[4] = {};
    arguments[0] = toNumber(env, static_cast<double>(receiver_.written()));
    arguments[1] = toNumber(env, ended ? outcome_ : kRunning);
    size_t count = 2;
    if (ended) {
      arguments[2] = toNumber(env, receiver_.error());
      arguments[3] = bytes(env, receiver_.takeLeftover());
      count = 4;
    }
    napi_value receiver = nullptr;
    napi_get_undefined(env, &receiver);
    napi_call_function(env, receiver, callback, count, arguments, nullptr);
    if (ended) finish(env);
  }

  void finish(napi_env env) {
    told_ = true;
    thread_.join();
    napi_remove_env_cleanup_hook(env, onEnvironmentEnd, this);
    self_.reset();
  }

  // The thread must not outlive what it calls.
  static void onEnvironmentEnd(void* data) {
    auto* transfer = static_cast<Transfer*>(data);
    transfer->abort();
    transfer->thread_.join();
    transfer->told_ = true;
    transfer->self_.reset();
  }

  static napi_value bytes(napi_env env, const std::vector<uint8_t>& from) {
    void* data = nullptr;
    napi_value out = nullptr;
    napi_create_buffer_copy(env, from.size(), from.data(), &data, &out);
    return out;
  }

  Receiver receiver_;
  napi_threadsafe_function tell_ = nullptr;
  std::thread thread_;
  std::atomic<bool> calling_{false};
  std::atomic<bool> ended_{false};
  uint32_t outcome_ = kRunning;  // written before `ended_`
  bool told_ = false;            // the end, to JavaScript; of its thread
  std::shared_ptr<Transfer> self_;
};

// socket, file, offset, length, prefix, digest or undefined, callback(written, outcome, errno, leftover)
napi_value start(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  ReceiveOrder order;
  order.socket = static_cast<int>(wholeOf(env, in.values[0]));
  order.file = static_cast<int>(wholeOf(env, in.values[1]));
  order.offset = wholeOf(env, in.values[2]);
  order.length = wholeOf(env, in.values[3]);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!fuse::bytesOf(env, in.values[4], data, length) || length > order.length) return fail(env, "wrong prefix");
  order.prefix.assign(data, data + length);
  order.digest = digestOf(env, in.values[5]);
  auto transfer = std::make_shared<Transfer>(std::move(order));
  if (!transfer->start(env, in.values[6])) return fail(env, "no callback");
  return externalFor(env, std::make_unique<std::shared_ptr<Transfer>>(transfer), kReceiverTag);
}

napi_value abortTransfer(napi_env env, napi_callback_info info) {
  const Arguments in(env, info);
  auto* held = externalOf<std::shared_ptr<Transfer>>(env, in.values[0], kReceiverTag);
  if (held != nullptr) (*held)->abort();
  return nullptr;
}

}  // namespace

void registerReceive(napi_env env, napi_value exports) {
  napi_value object = nullptr;
  napi_create_object(env, &object);
  fuse::setMethods(env, object,
                   {{"createDigest", createDigest},
                    {"digestPosition", digestPosition},
                    {"digestFile", digestFile},
                    {"digestFeed", digestFeed},
                    {"digestFinish", digestFinish},
                    {"start", start},
                    {"abort", abortTransfer}},
                   nullptr);
  napi_set_named_property(env, exports, "receive", object);
}

}  // namespace imgfs
