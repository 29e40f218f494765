// The two neighbours of a Server, played by the test: a kernel that sends bytes and keeps replies, and JavaScript.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>

#include "../src/fuse/server.h"

namespace imgfs::fuse {

struct Reply {
  int error = 0;  // positive errno
  std::string body;
};

class FakeChannel : public Channel {
 public:
  int send(const iovec* parts, int count) override {
    std::string all;
    for (int i = 0; i < count; ++i) all.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    OutHeader header;
    if (all.size() < sizeof(header)) std::abort();
    std::memcpy(&header, all.data(), sizeof(header));
    if (header.len != all.size()) std::abort();
    std::lock_guard<std::mutex> lock(mutex_);
    if (refuse_ != 0) return refuse_;
    replies_[header.unique] = Reply{-header.error, all.substr(sizeof(header))};
    ++sent_;
    return 0;
  }
  int openBacking(int) override {
    if (backingError_ != 0) return -backingError_;
    open_ += 1;
    return ++lastBacking_;
  }
  void closeBacking(int) override { open_ -= 1; }

  bool take(uint64_t unique, Reply& out) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = replies_.find(unique);
    if (found == replies_.end()) return false;
    out = found->second;
    replies_.erase(found);
    return true;
  }
  void refuse(int error) {
    std::lock_guard<std::mutex> lock(mutex_);
    refuse_ = error;
  }
  void failBacking(int error) { backingError_ = error; }
  int openBackings() const { return open_; }
  size_t sent() {
    std::lock_guard<std::mutex> lock(mutex_);
    return sent_;
  }

 private:
  std::mutex mutex_;
  std::map<uint64_t, Reply> replies_;
  size_t sent_ = 0;
  int refuse_ = 0;
  int backingError_ = 0;
  int lastBacking_ = 0;
  std::atomic<int> open_{0};
};

template <typename T>
std::string raw(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

inline std::string text(const std::string& name) { return std::string(name.c_str(), name.size() + 1); }

inline std::string requestBytes(uint32_t opcode, uint64_t unique, uint64_t nodeid, const std::string& arguments,
                                uint32_t uid = 0, uint32_t gid = 0) {
  InHeader header{};
  header.len = static_cast<uint32_t>(sizeof(header) + arguments.size());
  header.opcode = opcode;
  header.unique = unique;
  header.nodeid = nodeid;
  header.uid = uid;
  header.gid = gid;
  header.pid = static_cast<uint32_t>(getpid());
  return raw(header) + arguments;
}

inline std::string initArguments(uint32_t minor = kMinor, bool passthrough = true) {
  uint64_t flags = ~0ull;
  if (!passthrough) flags &= ~kInitPassthrough;
  InitIn in{kMajor, minor, 131072, static_cast<uint32_t>(flags)};
  return raw(in) + raw(static_cast<uint32_t>(flags >> 32)) + std::string(44, '\0');
}

// As src/fuse/native/packed-entry.ts writes it.
inline std::string packEntry(uint64_t ino, uint32_t mode, uint64_t size, const std::string& name = "", uint64_t next = 0,
                             double ttl = 3600000, bool attributes = true) {
  std::string out(kPackedEntrySize, '\0');
  auto put = [&](size_t at, auto value) { std::memcpy(out.data() + at, &value, sizeof(value)); };
  put(0, static_cast<double>(ino));
  put(8, ttl);
  put(16, ttl);
  put(24, static_cast<double>(size));
  put(64, mode);
  put(68, uint32_t{1});
  put(84, uint32_t{attributes ? 1u : 0u});
  put(88, next);
  put(96, static_cast<uint32_t>(name.size()));
  out += name;
  out.resize(alignRecord(out.size()));
  return out;
}

inline ReadIn readIn(uint64_t fh, uint64_t offset, uint32_t size) {
  ReadIn in{};
  in.fh = fh;
  in.offset = offset;
  in.size = size;
  return in;
}

// JavaScript's answer to an OPEN whose pages the kernel may keep; `script` is its handle.
inline OpenAnswer cachedAnswer(uint64_t script) {
  OpenAnswer answer;
  answer.script = script;
  answer.keepCache = true;
  return answer;
}

inline PackedEntry unpacked(const std::string& bytes) {
  PackedEntry entry;
  size_t at = 0;
  if (!unpackEntry(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), at, entry)) std::abort();
  return entry;
}

struct Rig {
  explicit Rig(ServerConfig config = {}) : server(config, channel, jobs) {
    server.setParkedReady([this] { parkedReady = true; });
    send(kInit, 0, initArguments());
    reply();
    CHECK_INIT();
  }
  void CHECK_INIT() {
    Job ready = job();
    if (ready.kind != kJobReady) std::abort();
  }

  uint64_t send(uint32_t opcode, uint64_t nodeid, const std::string& arguments) {
    std::string bytes = requestBytes(opcode, ++unique, nodeid, arguments, uid, gid);
    server.handle(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), scratch);
    return unique;
  }
  bool answered(uint64_t of = 0) { return channel.take(of == 0 ? unique : of, last); }
  Reply reply(uint64_t of = 0) {
    if (!answered(of)) std::abort();
    return last;
  }
  template <typename T>
  T body(uint64_t of = 0) {
    Reply got = reply(of);
    T out{};
    if (got.error != 0 || got.body.size() < sizeof(T)) std::abort();
    std::memcpy(&out, got.body.data(), sizeof(T));
    return out;
  }
  Job job() {
    std::vector<Job> taken;
    jobs.take(taken, 1, 65536);
    return taken.empty() ? Job{} : taken[0];
  }
  // LOOKUP answered by JavaScript.
  void lookup(const std::string& name, uint64_t ino, uint32_t mode, uint64_t size) {
    send(kLookup, kRootNode, text(name));
    server.replyEntry(job().id, unpacked(packEntry(ino, mode, size)));
    reply();
  }
  // OPEN answered by JavaScript, unless the server knows the answer; a handle.
  uint64_t open(uint64_t ino, const OpenAnswer& answer, uint32_t* flags = nullptr, int32_t* backing = nullptr) {
    send(kOpen, ino, raw(OpenIn{O_RDONLY, 0}));
    Job asked = job();
    while (asked.kind == kRelease) asked = job();  // of handles closed before
    if (asked.kind == kOpen) server.replyOpen(asked.id, answer);
    OpenOut out = body<OpenOut>();
    if (flags != nullptr) *flags = out.openFlags;
    if (backing != nullptr) *backing = out.backingId;
    return out.fh;
  }
  void close(uint64_t ino, uint64_t fh) {
    ReleaseIn in{};
    in.fh = fh;
    send(kRelease, ino, raw(in));
    if (reply().error != 0) std::abort();
  }

  FakeChannel channel;
  JobQueue jobs;
  Server server;
  Scratch scratch;
  Reply last;
  uint64_t unique = 0;
  uint32_t uid = 0, gid = 0;  // of who calls
  bool parkedReady = false;
};

// A file in memory with a pattern, or one on disk without a name.
inline uint8_t patternAt(size_t at) { return static_cast<uint8_t>(at * 31 + (at >> 8)); }

inline int memoryFile(size_t size, bool onDisk = false) {
  char path[] = "./imgfs-test-XXXXXX";
  int fd = onDisk ? mkstemp(path) : memfd_create("imgfs-test", MFD_CLOEXEC);
  if (onDisk) unlink(path);
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(patternAt(i));
  if (write(fd, bytes.data(), size) != static_cast<ssize_t>(size)) std::abort();
  return fd;
}

}  // namespace imgfs::fuse
