// Operations that change something: all of them are JavaScript's, this is only their wire form.
#include <errno.h>
#include <fcntl.h>

#include <algorithm>

#include "server.h"

namespace imgfs::fuse {
namespace {

constexpr int64_t kNanosPerSecond = 1000000000;

// 64-bit nanoseconds reach from 1677 to 2262; times beyond are the nearest that can be said.
int64_t nanos(uint64_t seconds, uint32_t nanoseconds) {
  int64_t whole = std::clamp<int64_t>(static_cast<int64_t>(seconds), -9223372036, 9223372035);
  return whole * kNanosPerSecond + std::min<uint32_t>(nanoseconds, kNanosPerSecond - 1);
}

template <typename T>
void put(std::string& to, T value) {
  to.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// What JavaScript reads out of the payload of SETATTR (src/fuse/native/changes.ts), eight bytes each:
// size, mode, uid, gid (doubles), atime, mtime (nanoseconds).
std::string setattrPayload(const SetattrIn& in) {
  std::string payload;
  put(payload, static_cast<double>(in.size));
  put(payload, static_cast<double>(in.mode & 07777));
  put(payload, static_cast<double>(in.uid));
  put(payload, static_cast<double>(in.gid));
  put(payload, nanos(in.atime, in.atimeNsec));
  put(payload, nanos(in.mtime, in.mtimeNsec));
  return payload;
}

bool isSlow(uint32_t opcode) { return opcode == kCopyFileRange || opcode == kCopyFileRange64; }

}  // namespace

// The FileSystem's handle behind `fh`. False when there is no such file, or it is not open for writing.
bool Server::handleJob(uint64_t fh, bool wantWritable, uint64_t& script) {
  Lock lock(mutex_);
  auto found = handles_.find(fh);
  if (found == handles_.end() || found->second.mode == OpenMode::kDirectory) return false;
  if (wantWritable && !found->second.writable) return false;
  script = found->second.script;
  return true;
}

void Server::flushOrSync(Request& request) {
  FsyncIn in{};  // FLUSH begins with the same handle
  const InHeader& header = request.header();
  Job job;
  if (!request.take(in) || !handleJob(in.fh, true, job.a)) {
    // Not open for writing: nothing to wait for.
    send(header.unique, 0);
    return;
  }
  Pending pending;
  pending.fh = in.fh;
  toScript(request, std::move(job), std::move(pending), true);
}

// Reads the arguments; false when they are malformed.
bool Server::changeJob(Request& request, Job& job, Pending& pending) {
  std::string_view name, second;
  switch (request.header().opcode) {
    case kCreate: {
      CreateIn in{};
      if (!request.take(in) || !request.takeString(name)) return false;
      job.a = in.flags;
      job.b = in.mode & 07777;
      pending.flags = in.flags;
      break;
    }
    case kMkdir: {
      MkdirIn in{};
      if (!request.take(in) || !request.takeString(name)) return false;
      job.b = in.mode & 07777;
      break;
    }
    case kUnlink:
    case kRmdir:
      if (!request.takeString(name)) return false;
      break;
    case kRename:
    case kRename2: {
      Rename2In in{};
      RenameIn old{};
      bool whole = request.header().opcode == kRename2 ? request.take(in) : request.take(old);
      if (!whole || !request.takeString(name) || !request.takeString(second)) return false;
      job.a = request.header().opcode == kRename2 ? in.newdir : old.newdir;
      job.b = in.flags;
      break;
    }
    case kSymlink:
      if (!request.takeString(name) || !request.takeString(second) || second.size() > 4095) return false;
      break;
    case kLink: {
      LinkIn in{};
      if (!request.take(in) || !request.takeString(name)) return false;
      job.a = in.oldnodeid;
      break;
    }
    case kSetattr: {
      SetattrIn in{};
      if (!request.take(in)) return false;
      job.a = in.valid;
      if ((in.valid & kSetFh) != 0) handleJob(in.fh, false, job.b);
      pending.payload = setattrPayload(in);
      return true;
    }
    case kWrite: {
      WriteIn in{};
      std::string_view data;
      if (!request.take(in) || !request.takeBytes(in.size, data) || in.offset > (1ull << 53)) return false;
      if (!handleJob(in.fh, true, job.a)) return false;
      job.b = in.offset;
      job.c = in.size;
      pending.payload = data;
      return true;
    }
    default: {
      CopyFileRangeIn in{};
      uint64_t to = 0;
      if (!request.take(in) || !handleJob(in.fhIn, false, job.a) || !handleJob(in.fhOut, true, to)) return false;
      job.b = to;
      pending.offset = in.nodeidOut;  // whose attributes change
      for (uint64_t value : {in.offIn, in.offOut, in.len}) put(pending.payload, static_cast<double>(value));
      return true;
    }
  }
  if (!isComponent(name) || (!second.empty() && request.header().opcode != kSymlink && !isComponent(second)))
    return false;
  job.c = name.size();
  job.name.append(name).append(second);
  return true;
}

void Server::change(Request& request) {
  const InHeader& header = request.header();
  if (!config_.writable) {
    send(header.unique, EROFS);
    return;
  }
  Job job;
  Pending pending;
  if (!changeJob(request, job, pending)) return malformed(request, header.opcode == kWrite ? EBADF : EINVAL);
  toScript(request, std::move(job), std::move(pending), isSlow(header.opcode));
}

// What was known of the inode is not believed any more. The lock is held.
void Server::afterChange(const Pending& request) {
  switch (request.opcode) {
    case kCreate:
    case kMkdir:
    case kUnlink:
    case kRmdir:
    case kRename:
    case kRename2:
    case kSymlink:
    case kLink: {
      Forgets forgets;
      inodes_.dropListing(request.nodeid, forgets);
      giveBack(forgets);
      inodes_.expire(request.nodeid);
      break;
    }
    case kWrite:
    case kFlush:
    case kFsync:
      inodes_.expire(request.nodeid);
      xattrs_.clear();
      break;
    case kCopyFileRange:
    case kCopyFileRange64:
      inodes_.expire(request.offset);
      xattrs_.clear();
      break;
    default:
      break;
  }
}

Delivery Server::replyCreate(uint64_t id, const PackedEntry& entry, const OpenAnswer& answer) {
  Pending request;
  Handle handle;
  uint64_t fh = 0;
  uint64_t ino = entry.attributes.ino;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return Delivery::kGone;
    inodes_.put(entry, nowMillis(), 1).kernel += 1;
    afterChange(request);
    handle.nodeid = ino;
    handle.script = answer.script;
    handle.writable = (request.flags & O_ACCMODE) != O_RDONLY;
    handle.mode = chooseMode(ino, nullptr, answer.keepCache, answer.directIo);
    fh = ++lastHandle_;
    handles_.emplace(fh, handle);
  }
  struct {
    EntryOut entry;
    OpenOut open;
  } out{makeEntry(entry.attributes, entry.entryTtl, entry.attrTtl), makeOpen(fh, handle, answer.keepCache)};
  static_assert(sizeof(out) == sizeof(EntryOut) + sizeof(OpenOut), "no padding between the two");
  if (send(request.unique, 0, &out, sizeof(out)) == 0) return Delivery::kDelivered;
  Lock lock(mutex_);
  closed(ino, handle.mode);
  handles_.erase(fh);
  // The lookup is undone by the caller, with the handle.
  if (Inode* inode = inodes_.find(ino)) inode->script -= std::min<uint64_t>(inode->script, 1);
  Forgets forgets;
  inodes_.forget(ino, 1, forgets);
  giveBack(forgets);
  return Delivery::kGone;
}

bool Server::replyCount(uint64_t id, uint64_t bytes) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    afterChange(request);
  }
  if (request.opcode == kCopyFileRange64) {
    CopyFileRangeOut out{bytes};
    send(request.unique, 0, &out, sizeof(out));
  } else {
    WriteOut out{static_cast<uint32_t>(std::min<uint64_t>(bytes, 0x7ffff000)), 0};
    send(request.unique, 0, &out, sizeof(out));
  }
  return true;
}

size_t Server::takePayload(uint64_t id, uint8_t* to, size_t length) {
  Lock lock(mutex_);
  Pending* request = pending_.find(id);
  if (request == nullptr) return 0;
  size_t taken = std::min(length, request->payload.size());
  std::copy_n(request->payload.data(), taken, to);
  request->payload = std::string();
  return taken;
}

}  // namespace imgfs::fuse
