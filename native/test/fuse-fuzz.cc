// libFuzzer target: arbitrary bytes as requests of the kernel and as answers of JavaScript.
//
// The input is a series of records: one byte says what it is, two bytes its length. An even kind is a request: the
// bytes are what the device delivers, with the length field put right most of the time so that the fuzzer gets behind
// the first check. An odd kind answers the oldest waiting job, with the record as its content.
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

void answer(Server& server, const Job& job, uint8_t kind, const std::string& bytes, int fd) {
  PackedEntry entry;
  size_t at = 0;
  auto data = reinterpret_cast<const uint8_t*>(bytes.data());
  OpenAnswer open;
  open.script = kind;
  open.keepCache = (kind & 2) != 0;
  open.directIo = (kind & 4) != 0;
  open.complete = (kind & 8) != 0;
  open.fd = (kind & 16) != 0 ? fd : -1;
  open.base = bytes.size();
  open.file = kind & 1;
  if (bytes.size() >= 2) open.present.push_back({static_cast<uint8_t>(bytes[0]), static_cast<uint8_t>(bytes[1])});
  bool whole = unpackEntry(data, bytes.size(), at, entry);
  switch (job.kind) {
    case kLookup:
    case kMkdir:
    case kSymlink:
    case kLink:
      if (whole) server.replyEntry(job.id, entry);
      else server.replyNegative(job.id, kind);
      break;
    case kGetattr:
    case kSetattr:
      if (whole) server.replyAttributes(job.id, entry);
      break;
    case kOpen: server.replyOpen(job.id, open); break;
    case kCreate:
      if (whole) server.replyCreate(job.id, entry, open);
      break;
    case kOpendir: server.replyOpendir(job.id, kind, open.keepCache, open.complete); break;
    case kReaddir: server.replyReaddir(job.id, data, bytes.size(), (kind & 2) != 0); break;
    case kJobReopen:
      if ((kind & 1) != 0) server.reopenFailed(job.id, kind);
      else server.replyReopen(job.id, open);
      break;
    case kJobFill: server.fillDone(job.id, kind & 1, (kind & 2) != 0, (kind & 4) != 0, open.present); break;
    case kWrite: {
      uint8_t payload[64];
      server.takePayload(job.id, payload, sizeof(payload));
      server.replyCount(job.id, kind);
      break;
    }
    case kReadlink:
    case kGetxattr:
    case kListxattr:
    case kRead: server.replyBytes(job.id, data, bytes.size()); break;
    default: break;
  }
  if ((kind & 64) != 0) server.putListing(job.nodeid, data, bytes.size());
  if ((kind & 32) != 0) server.takeBack(1, open.present, (kind & 16) != 0);
  if ((kind & 128) != 0) server.addRanges(1, open.present);
  server.replyError(job.id, kind);  // whatever is left; a second answer must be harmless
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static int fd = memoryFile(5000);
  FakeChannel channel;
  JobQueue jobs;
  ServerConfig config;
  config.operationTimeout = 1000;
  config.writable = size % 2 == 0;
  config.allXattrs = size % 3 == 0;
  config.maxListed = 16;
  config.maxSealed = 2;
  Server server(config, channel, jobs);
  Scratch scratch;
  server.putFile(1, fd, 5000, {{0, 3000}});
  std::string init = requestBytes(kInit, 1, 0, initArguments());
  server.handle(reinterpret_cast<const uint8_t*>(init.data()), init.size(), scratch);
  for (size_t at = 0; at + 3 <= size;) {
    uint8_t kind = data[at];
    size_t length = data[at + 1] | (data[at + 2] << 8);
    at += 3;
    length = std::min(length, size - at);
    std::string bytes(reinterpret_cast<const char*>(data + at), length);
    at += length;
    if (kind % 2 == 0) {
      if (kind != 254 && bytes.size() >= 4) {
        uint32_t whole = static_cast<uint32_t>(bytes.size());
        std::memcpy(bytes.data(), &whole, sizeof(whole));
      }
      server.handle(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), scratch);
    } else {
      std::vector<Job> taken;
      jobs.take(taken, 1, 65536);
      if (!taken.empty()) answer(server, taken[0], kind, bytes, fd);
      server.answerParked(scratch);
    }
  }
  server.tick();
  server.end();
  return 0;
}
