#include "server.h"

#include <errno.h>

#include <algorithm>

#include "interrupt.h"

namespace imgfs::fuse {

const char* const kCounterNames[kCounterEnd] = {
    "requests",   "toScript",   "fills",             "parked",      "passthroughOpens",
    "cachedOpens", "sealedOpens", "sharedOpens",     "reopens",     "storedFiles",
    "timeouts",   "interrupts", "interruptsIgnored", "backedReads", "backedBytes", "readFallbacks",
    "malformed",  "lostReplies",
};

namespace {

// The answer to an opcode that this file system does not have.
//
// ENOSYS is remembered by the kernel for the whole mount and then answered by itself: right for what the driver as a
// whole lacks (access: the kernel then allows everything to who may enter; poll; statx falls back to getattr; lseek
// falls back to "no holes"). Files other than regular ones, and attributes of the caller's own, are never taken: EPERM.
int errorFor(uint32_t opcode) {
  switch (opcode) {
    case kAccess:
    case kPoll:
    case kStatx:
    case kLseek:
    case kBmap:
    case kIoctl:
    case kGetlk:
    case kSetlk:
    case kSetlkw:
    case kSyncfs:
      return ENOSYS;
    case kMknod:
    case kTmpfile:
    case kFallocate:
    case kSetxattr:
    case kRemovexattr:
      return EPERM;
    default:
      return ENOSYS;
  }
}

}  // namespace

Server::Server(const ServerConfig& config, Channel& channel, JobQueue& jobs)
    : config_(config),
      channel_(channel),
      jobs_(jobs),
      inodes_(config.maxListed),
      pending_(config.operationTimeout, config.slowTimeout) {}

Server::~Server() = default;

int Server::send(uint64_t unique, int error, const void* payload, size_t length) {
  OutHeader header{static_cast<uint32_t>(sizeof(OutHeader) + length), -error, unique};
  iovec parts[2] = {{&header, sizeof(header)}, {const_cast<void*>(payload), length}};
  int result = channel_.send(parts, length == 0 ? 1 : 2);
  if (result == 0) return 0;
  count(kLostReplies);
  // A reply that the kernel refuses as malformed leaves its request waiting for ever: end it.
  if (result == EINVAL && error == 0) send(unique, EIO);
  return result;
}

void Server::malformed(const Request& request, int error) {
  count(kMalformed);
  send(request.header().unique, error);
}

// Sends an entry, which counts one lookup; takes that back when nobody waits for it.
int Server::sendEntry(uint64_t unique, const EntryOut& entry) {
  int result = send(unique, 0, &entry, sizeof(entry));
  if (result != 0 && entry.nodeid != 0) undoLookups({entry.nodeid});
  return result;
}

void Server::undoLookups(const std::vector<uint64_t>& inodes) {
  Lock lock(mutex_);
  Forgets forgets;
  for (uint64_t ino : inodes) inodes_.forget(ino, 1, forgets);
  giveBack(forgets);
}

int Server::sendAttributes(uint64_t unique, const Attributes& attributes, Millis ttl) {
  AttrOut out{};
  setValidity(ttl, out.attrValid, out.attrValidNsec);
  out.attr = toWire(attributes);
  return send(unique, 0, &out, sizeof(out));
}

void Server::setCaller(Job& job, const Pending& request) {
  job.nodeid = request.nodeid;
  job.uid = request.uid;
  job.gid = request.gid;
  job.pid = request.pid;
}

void Server::toScript(const Request& request, Job job, Pending pending, bool slow) {
  const InHeader& header = request.header();
  pending.belongTo(header);
  job.kind = header.opcode == kReaddirplus ? static_cast<uint32_t>(kReaddir) : header.opcode;
  setCaller(job, pending);
  count(kToScript);
  Lock lock(mutex_);
  job.id = pending_.add(std::move(pending), nowMillis(), slow);
  jobs_.push(std::move(job));
}

void Server::giveBack(Forgets& forgets) {
  for (auto [ino, lookups] : forgets) {
    Job job;
    job.kind = kForget;
    job.nodeid = ino;
    job.a = lookups;
    jobs_.push(std::move(job));
  }
  forgets.clear();
}

void Server::handle(const uint8_t* bytes, size_t length, Scratch& scratch) {
  Request request;
  count(kRequests);
  if (!request.parse(bytes, length)) {
    count(kMalformed);
    return;
  }
  const InHeader& header = request.header();
  if (header.opcode != kInit && (!ready_.load() || ending_.load())) {
    bool silent = header.opcode == kForget || header.opcode == kBatchForget || header.opcode == kInterrupt;
    if (!silent) send(header.unique, ENOTCONN);
    return;
  }
  switch (header.opcode) {
    case kInit: return init(request);
    case kLookup: return lookup(request);
    case kForget: return forget(request);
    case kBatchForget: return batchForget(request);
    case kInterrupt: return interrupt(request);
    case kGetattr: return getattr(request);
    case kReadlink: return readlink(request);
    case kGetxattr: return getxattr(request);
    case kListxattr: return listxattr(request);
    case kStatfs: return statfs(request);
    case kOpendir: return opendir(request);
    case kReaddir: return readdir(request, false, scratch);
    case kReaddirplus: return readdir(request, true, scratch);
    case kReleasedir: return releasedir(request);
    case kOpen: return open(request, scratch);
    case kRead: return read(request, scratch);
    case kRelease: return release(request);
    case kFlush:
    case kFsync: return flushOrSync(request);
    case kFsyncdir:
    case kDestroy:
      send(header.unique, 0);
      return;
    case kCreate:
    case kWrite:
    case kSetattr:
    case kMkdir:
    case kUnlink:
    case kRmdir:
    case kRename:
    case kRename2:
    case kSymlink:
    case kLink:
    case kCopyFileRange:
    case kCopyFileRange64: return change(request);
    case kNotifyReply: return;
    default: {
      int error = errorFor(header.opcode);
      send(header.unique, error == EPERM && !config_.writable ? EROFS : error);
    }
  }
}

void Server::init(Request& request) {
  InitIn in{};
  uint64_t unique = request.header().unique;
  if (!request.take(in)) return malformed(request, EPROTO);
  InitOut out{};
  out.major = kMajor;
  out.minor = config_.mostMinor;
  if (in.major > kMajor) {  // the kernel then sends INIT again with our major version
    send(unique, 0, &out, sizeof(out));
    return;
  }
  if (in.major < kMajor || in.minor < kOldestMinor) {
    send(unique, EPROTO);
    Job job;
    job.kind = kJobClosed;
    job.a = EPROTO;
    jobs_.push(std::move(job));
    return;
  }
  uint64_t offered = in.flags;
  uint32_t upper = 0;
  if ((offered & kInitExt) != 0 && request.take(upper)) offered |= static_cast<uint64_t>(upper) << 32;
  uint64_t wanted = kInitAsyncRead | kInitBigWrites | kInitReaddirplus | kInitReaddirplusAuto | kInitAsyncDirectIo |
                    kInitParallelDirops | kInitMaxPages | kInitCacheSymlinks | kInitExplicitInvalData | kInitExt |
                    kInitHasExpireOnly | (config_.passthrough ? kInitPassthrough : 0);
  uint64_t flags = wanted & offered & ~config_.withoutFlags;
  out.maxReadahead = in.maxReadahead;
  out.flags = static_cast<uint32_t>(flags);
  out.flags2 = static_cast<uint32_t>(flags >> 32);
  // Read-ahead of 8 readers, two requests of each under way and as many again waiting for the network.
  out.maxBackground = 64;
  out.congestionThreshold = 48;
  out.maxWrite = config_.maxRead;
  out.timeGran = 1;
  out.maxPages = static_cast<uint16_t>(config_.maxRead / 4096);
  // One file system may lie below (the cache's own), and one more above, such as an overlay over rootfs/.
  out.maxStackDepth = (flags & kInitPassthrough) != 0 ? 1 : 0;
  passthrough_.store((flags & kInitPassthrough) != 0);
  expireOnly_.store((flags & kInitHasExpireOnly) != 0);
  ready_.store(true);
  send(unique, 0, &out, sizeof(out));
  Job job;
  job.kind = kJobReady;
  job.a = std::min(in.minor, config_.mostMinor);
  job.b = passthrough_.load() ? 1 : 0;
  jobs_.push(std::move(job));
}

void Server::forget(Request& request) {
  ForgetIn in{};
  if (!request.take(in)) return count(kMalformed);
  Lock lock(mutex_);
  Forgets forgets;
  inodes_.forget(request.header().nodeid, in.nlookup, forgets);
  giveBack(forgets);
}

void Server::batchForget(Request& request) {
  BatchForgetIn in{};
  if (!request.take(in)) return count(kMalformed);
  Lock lock(mutex_);
  Forgets forgets;
  ForgetOne one{};
  for (uint32_t i = 0; i < in.count && request.take(one); ++i) inodes_.forget(one.nodeid, one.nlookup, forgets);
  giveBack(forgets);
}

void Server::interrupt(Request& request) {
  InterruptIn in{};
  if (!request.take(in)) return count(kMalformed);
  Lock lock(mutex_);
  Pending* waiting = pending_.findUnique(in.unique);
  if (waiting == nullptr) {
    // Answered already, or not read from the device yet by another thread. EAGAIN makes the kernel ask again in the
    // second case; in the first one it finds nobody, and that is the end of it.
    lock.unlock();
    send(request.header().unique, EAGAIN);
    return;
  }
  count(kInterrupts);
  uint64_t id = waiting->id;
  uint32_t pid = waiting->pid;
  waiting->interrupted = true;
  lock.unlock();
  // The kernel tells about the first signal only: tick() looks again for those that come later.
  if (endsWait(pid)) {
    cancel(id, EINTR);
  } else {
    count(kInterruptsIgnored);
  }
}

void Server::cancel(uint64_t id, int error) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return;
    if (request.parkedOn) {
      unpark(request.parkedOn, id, error);
    } else {
      Job job;
      job.kind = kJobAbort;
      job.a = id;
      job.c = static_cast<uint64_t>(error);
      jobs_.push(std::move(job));
    }
  }
  send(request.unique, error);
}

void Server::tick() {
  std::vector<uint64_t> due;
  std::vector<std::pair<uint64_t, uint32_t>> interrupted;
  Millis now = nowMillis();
  {
    Lock lock(mutex_);
    due = pending_.due(now);
    for (uint64_t id : pending_.interrupted()) interrupted.emplace_back(id, pending_.find(id)->pid);
    if (now >= nextTrim_) {
      nextTrim_ = now + 5000;
      trimSealed(now, config_.maxSealed);
    }
  }
  for (uint64_t id : due) {
    count(kTimeouts);
    cancel(id, ETIMEDOUT);
  }
  for (auto [id, pid] : interrupted)
    if (endsWait(pid)) cancel(id, EINTR);
}

void Server::end() {
  ending_.store(true);
  std::vector<uint64_t> waiting;
  {
    Lock lock(mutex_);
    waiting = pending_.all();
  }
  for (uint64_t id : waiting) cancel(id, ENOTCONN);
  Lock lock(mutex_);
  parked_.clear();
  for (auto& [id, backing] : fills_) {
    backing->waiters.clear();
    backing->fills.clear();
  }
  fills_.clear();
}

void Server::statfs(Request& request) {
  StatfsOut out{};
  {
    Lock lock(mutex_);
    if (statfsExpiry_ > nowMillis()) out = statfs_;
  }
  if (out.bsize != 0) {
    send(request.header().unique, 0, &out, sizeof(out));
  } else {
    toScript(request, Job{}, Pending{});
  }
}

bool Server::replyStatfs(uint64_t id, const StatfsOut& statistics) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    statfs_ = statistics;
    // df and desktop programs poll; a second is fresh enough for sizes of a cache.
    statfsExpiry_ = nowMillis() + 1000;
  }
  send(request.unique, 0, &statistics, sizeof(statistics));
  return true;
}

bool Server::replyError(uint64_t id, int error) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    afterChange(request);
  }
  send(request.unique, error >= 0 && error < 512 ? error : EIO);
  return true;
}

Server::Gauges Server::gauges() {
  Lock lock(mutex_);
  size_t open = 0;
  for (const auto& [key, file] : files_) open += file.expired() ? 0 : 1;
  return {inodes_.inodes(), inodes_.listed(), handles_.size(), pending_.size(), sealed_.size(), open};
}

}  // namespace imgfs::fuse
