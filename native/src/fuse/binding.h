// What the functions of a session share (typed in src/fuse/native/addon-fuse.ts).
#pragma once

#include <chrono>
#include <memory>

#include "napi-values.h"
#include "session.h"

namespace imgfs::fuse {

using Clock = std::chrono::steady_clock;

struct Binding {
  napi_env env = nullptr;
  napi_threadsafe_function wake = nullptr;
  napi_ref onBatch = nullptr;
  napi_ref onShareUsed = nullptr;
  napi_ref words = nullptr;
  napi_ref names = nullptr;
  napi_ref packed = nullptr;  // one packed entry, for answers with attributes
  // Until when jobs go to JavaScript in this turn of the event loop, and whether a later turn was asked for.
  Clock::time_point shareEnds;
  bool isTurnAskedFor = false;
  std::unique_ptr<Session> session;
  // How to unmount when the environment ends without having done so.
  std::string mountPoint;
  std::string helper;
};

// Arguments of one call, and the session it belongs to.
struct Call {
  Call(napi_env env, napi_callback_info info) : env(env) {
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
    binding = static_cast<Binding*>(data);
  }
  Server* server() const { return binding->session ? &binding->session->server() : nullptr; }
  napi_value operator[](size_t i) const { return arguments[i]; }
  uint64_t whole(size_t i) const { return wholeOf(env, arguments[i]); }

  napi_env env;
  size_t count = 7;
  napi_value arguments[7] = {};
  Binding* binding = nullptr;
};

// Methods that take answers, and what JavaScript tells by itself (binding-answers.cc).
const std::vector<Method>& answerMethods();

// Mounting and unmounting, for the module (binding-mount.cc).
const std::vector<Method>& mountMethods();

// Takes jobs to JavaScript, as the callback of a thread-safe function whose context is the Binding (binding-jobs.cc).
void drainJobs(napi_env env, napi_value callback, void* context, void* data);

// nextTurn(): a turn of the event loop has begun in which jobs may go to JavaScript (binding-jobs.cc).
napi_value nextTurn(napi_env env, napi_callback_info info);

}  // namespace imgfs::fuse
