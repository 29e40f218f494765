// Jobs on their way to JavaScript, in batches through one shared buffer, twelve 64-bit words each:
//   0 kind   1 id   2 inode   3 uid   4 gid   5 pid   6 a   7 b   8 c   9 name offset   10 name length   (doubles)
//  11 cookie (unsigned 64-bit)
// Names lie in a second buffer.
#include <chrono>
#include <cstring>

#include "binding.h"

namespace imgfs::fuse {
namespace {

constexpr size_t kWords = 12;
// One call into JavaScript: enough to make its cost small, and a batch of lookups fits into 128 x 256 bytes of names.
constexpr size_t kBatch = 128;
constexpr size_t kMaxName = 256;
// What jobs get of a turn of the event loop: as much as who computes (src/layer/turns.ts).
constexpr std::chrono::milliseconds kShare{1};

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

// JavaScript calls nextTurn from a later turn.
void askForTurn(napi_env env, Binding& binding) {
  if (binding.isTurnAskedFor) return;
  napi_value undefined = nullptr, callback = nullptr;
  napi_get_undefined(env, &undefined);
  napi_get_reference_value(env, binding.onShareUsed, &callback);
  binding.isTurnAskedFor = napi_call_function(env, undefined, callback, 0, nullptr, nullptr) == napi_ok;
  if (binding.isTurnAskedFor || binding.wake == nullptr) return;
  // A defect of its own: jobs must not lie there for ever.
  napi_value error = nullptr;
  napi_get_and_clear_last_exception(env, &error);
  binding.shareEnds = Clock::now() + kShare;
  napi_call_threadsafe_function(binding.wake, nullptr, napi_tsfn_nonblocking);
}

void drain(napi_env env, Binding* binding) {
  napi_value undefined = nullptr;
  napi_get_undefined(env, &undefined);
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
    bytesOf(env, namesValue, names, namesLength);
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
    if (more && binding->session && Clock::now() >= binding->shareEnds) return askForTurn(env, *binding);
  }
}

}  // namespace

// Node calls this again and again in one turn while somebody sends jobs, up to 1,000 times: who lists one directory after the
// other held everything else up for 28 ms. So it works only until the share of this turn is used up. It cannot tell turns
// apart: the first job after a pause takes the way through JavaScript's queue as well, some 10 us.
void drainJobs(napi_env env, napi_value, void* context, void*) {
  auto* binding = static_cast<Binding*>(context);
  if (env == nullptr || !binding->session) return;
  if (Clock::now() >= binding->shareEnds) return askForTurn(env, *binding);
  drain(env, binding);
}

napi_value nextTurn(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->isTurnAskedFor = false;
  call.binding->shareEnds = Clock::now() + kShare;
  if (call.binding->session) drain(env, call.binding);
  return nullptr;
}

}  // namespace imgfs::fuse
