// Answers of JavaScript, as calls: numbers are arguments, attributes and directory pages packed entries.
#include <cstring>

#include "binding.h"

namespace imgfs::fuse {
namespace {

// The packed entry that JavaScript has written.
bool packedEntry(const Call& call, PackedEntry& out) {
  napi_value buffer = nullptr;
  uint8_t* data = nullptr;
  size_t length = 0, at = 0;
  return napi_get_reference_value(call.env, call.binding->packed, &buffer) == napi_ok &&
         bytesOf(call.env, buffer, data, length) && unpackEntry(data, length, at, out);
}

napi_value replyError(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return toBoolean(env, call.server() && call.server()->replyError(call.whole(0), static_cast<int>(call.whole(1))));
}

napi_value replyEntry(napi_env env, napi_callback_info info) {
  Call call(env, info);
  PackedEntry entry;
  if (!packedEntry(call, entry)) return fail(env, "malformed entry");
  return toBoolean(env, call.server() && call.server()->replyEntry(call.whole(0), entry));
}

napi_value replyNegative(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return toBoolean(env, call.server() && call.server()->replyNegative(call.whole(0), call.whole(1)));
}

napi_value replyAttributes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  PackedEntry entry;
  if (!packedEntry(call, entry)) return fail(env, "malformed attributes");
  return toBoolean(env, call.server() && call.server()->replyAttributes(call.whole(0), entry));
}

napi_value replyBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytesOf(env, call[1], data, length)) return fail(env, "replyBytes wants a Uint8Array");
  length = std::min<size_t>(length, call.whole(2));
  return toBoolean(env, call.server() && call.server()->replyBytes(call.whole(0), data, length));
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
  return toBoolean(env, call.server() && call.server()->replyStatfs(call.whole(0), out));
}

// handle, flags (1 keepCache, 2 directIo, 4 complete, 8 segmented), fd or -1, base offset, present ranges, number of the
// shared file or 0; behind the first argument
OpenAnswer openAnswer(napi_env env, const Call& call) {
  OpenAnswer answer;
  answer.script = call.whole(1);
  uint64_t flags = call.whole(2);
  answer.keepCache = (flags & 1) != 0;
  answer.directIo = (flags & 2) != 0;
  answer.complete = (flags & 4) != 0;
  answer.segmented = (flags & 8) != 0;
  int32_t fd = -1;
  napi_get_value_int32(env, call[3], &fd);
  answer.fd = fd;
  answer.base = call.whole(4);
  if (call.count > 5) answer.present = rangesOf(env, call[5]);
  if (call.count > 6) answer.file = static_cast<uint32_t>(call.whole(6));
  return answer;
}

// id, and what the handle is
napi_value replyOpen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  OpenAnswer answer = openAnswer(env, call);
  Delivery delivery = call.server() ? call.server()->replyOpen(call.whole(0), answer) : Delivery::kGone;
  return toNumber(env, static_cast<uint32_t>(delivery));
}

// handle of the kernel, and what the handle is
napi_value replyReopen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  OpenAnswer answer = openAnswer(env, call);
  Delivery delivery = call.server() ? call.server()->replyReopen(call.whole(0), answer) : Delivery::kGone;
  return toNumber(env, static_cast<uint32_t>(delivery));
}

// handle of the kernel, errno
napi_value reopenFailed(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.server()) call.server()->reopenFailed(call.whole(0), static_cast<int>(call.whole(1)));
  return nullptr;
}

// number, fd, size in bytes, present ranges
napi_value putFile(napi_env env, napi_callback_info info) {
  Call call(env, info);
  int32_t fd = -1;
  napi_get_value_int32(env, call[1], &fd);
  return toBoolean(env, call.server() && call.server()->putFile(static_cast<uint32_t>(call.whole(0)), fd, call.whole(2),
                                                              rangesOf(env, call[3])));
}

// number, ranges
napi_value addRanges(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.server()) call.server()->addRanges(static_cast<uint32_t>(call.whole(0)), rangesOf(env, call[1]));
  return nullptr;
}

// number, ranges, whether by force, bytes that become 1 for each range that may go
napi_value takeBack(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  std::vector<Range> ranges = rangesOf(env, call[1]);
  if (!bytesOf(env, call[3], data, length) || length < ranges.size()) return fail(env, "takeBack wants a byte for each range");
  std::vector<bool> mayGo(ranges.size(), true);
  if (call.server()) mayGo = call.server()->takeBack(static_cast<uint32_t>(call.whole(0)), ranges, flagOf(env, call[2]));
  for (size_t i = 0; i < ranges.size(); ++i) data[i] = mayGo[i] ? 1 : 0;
  return nullptr;
}

// number
napi_value dropFile(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.server()) call.server()->dropFile(static_cast<uint32_t>(call.whole(0)));
  return nullptr;
}

// id, handle, flags (1 keepCache, 4 complete)
napi_value replyOpendir(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint64_t flags = call.whole(2);
  return toBoolean(env, call.server() && call.server()->replyOpendir(call.whole(0), call.whole(1), (flags & 1) != 0,
                                                                  (flags & 4) != 0));
}

// id, page, length of it in bytes, whether it is the last
napi_value replyReaddir(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytesOf(env, call[1], data, length)) return fail(env, "replyReaddir wants a Uint8Array");
  length = std::min<size_t>(length, call.whole(2));
  return toBoolean(env, call.server() && call.server()->replyReaddir(call.whole(0), data, length, flagOf(env, call[3])));
}

// directory, entries of all of it, length in bytes; false when the caller has to undo the lookups
napi_value putListing(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytesOf(env, call[1], data, length)) return fail(env, "putListing wants a Uint8Array");
  length = std::min<size_t>(length, call.whole(2));
  return toBoolean(env, call.server() && call.server()->putListing(call.whole(0), data, length));
}

// fill id, for each segment four numbers (begin, end, fd or -1 for literals, offset there), literals
napi_value addSegments(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const double* numbers = nullptr;
  uint8_t* data = nullptr;
  size_t count = 0, length = 0;
  if (!doublesOf(env, call[1], numbers, count) || !bytesOf(env, call[2], data, length))
    return fail(env, "addSegments wants a Float64Array and a Uint8Array");
  std::vector<ToldSegment> told;
  for (size_t at = 0; at + 4 <= count; at += 4) {
    ToldSegment segment;
    if (!wholeNumber(numbers[at], segment.range.begin) || !wholeNumber(numbers[at + 1], segment.range.end) ||
        !wholeNumber(numbers[at + 3], segment.offset))
      return fail(env, "malformed segment");
    segment.fd = static_cast<int>(numbers[at + 2]);
    told.push_back(segment);
  }
  std::string literals(reinterpret_cast<const char*>(data), length);
  return toBoolean(env, call.server() && call.server()->addSegments(call.whole(0), told, literals));
}

// fill id, errno, flags (1 use read, 4 complete), present ranges
napi_value fillDone(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint64_t flags = call.whole(2);
  std::vector<Range> present;
  if (call.count > 3) present = rangesOf(env, call[3]);
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
  return toNumber(env, static_cast<uint32_t>(delivery));
}

napi_value replyCount(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return toBoolean(env, call.server() && call.server()->replyCount(call.whole(0), call.whole(1)));
}

// id, buffer; how many bytes were put there
napi_value takePayload(napi_env env, napi_callback_info info) {
  Call call(env, info);
  uint8_t* data = nullptr;
  size_t length = 0;
  if (!bytesOf(env, call[1], data, length)) return fail(env, "takePayload wants a Uint8Array");
  size_t taken = call.server() ? call.server()->takePayload(call.whole(0), data, length) : 0;
  return toNumber(env, static_cast<double>(taken));
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
  if (call.binding->session) call.binding->session->notify({Notification::kEntry, call.whole(0), textOf(env, call[1], true)});
  return nullptr;
}

napi_value expireAttributes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.binding->session) call.binding->session->notify({Notification::kAttributes, call.whole(0), ""});
  return nullptr;
}

napi_value expireContent(napi_env env, napi_callback_info info) {
  Call call(env, info);
  if (call.binding->session) call.binding->session->notify({Notification::kContent, call.whole(0), ""});
  return nullptr;
}

}  // namespace

const std::vector<Method>& answerMethods() {
  static const std::vector<Method> methods = {
      {"replyError", replyError},
      {"replyEntry", replyEntry},
      {"replyNegative", replyNegative},
      {"replyAttributes", replyAttributes},
      {"replyBytes", replyBytes},
      {"replyStatfs", replyStatfs},
      {"replyOpen", replyOpen},
      {"replyReopen", replyReopen},
      {"reopenFailed", reopenFailed},
      {"putFile", putFile},
      {"addRanges", addRanges},
      {"takeBack", takeBack},
      {"dropFile", dropFile},
      {"replyOpendir", replyOpendir},
      {"replyReaddir", replyReaddir},
      {"putListing", putListing},
      {"addSegments", addSegments},
      {"fillDone", fillDone},
      {"replyCreate", replyCreate},
      {"replyCount", replyCount},
      {"takePayload", takePayload},
      {"putAttributes", putAttributes},
      {"expireEntry", expireEntry},
      {"expireAttributes", expireAttributes},
      {"expireContent", expireContent},
  };
  return methods;
}

}  // namespace imgfs::fuse
