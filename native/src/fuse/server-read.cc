// Reading files: from what lies on disk, and asking for what is missing.
#include <errno.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "server.h"

namespace imgfs::fuse {
namespace {

// JavaScript's numbers are exact up to 2^53; no file is that long.
constexpr uint64_t kMaxOffset = (1ull << 53) - (1ull << 32);

// Below that, looking for the pages and mapping them costs more than the copy it saves. First reads of 128 KiB gave
// 0.27 to 0.33 of ext4 out of a mapping, 0.23 to 0.26 through a buffer.
constexpr size_t kWorthMapping = 65536;

// How often JavaScript learns of a reader that it need not serve, so that it fetches ahead: every 4 ms at 1 GB/s.
constexpr uint64_t kAskStride = 4 << 20;
constexpr uint64_t kLargestRead = 1 << 20;

// False when the file ends before them, or cannot be read.
bool readFile(int fd, uint64_t offset, uint8_t* to, size_t length, const std::function<void()>& beforeWaiting) {
  iovec part{to, length};
  ssize_t ready = preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  size_t done = ready < 0 ? 0 : static_cast<size_t>(ready);
  if (done < length) beforeWaiting();
  while (done < length) {
    ssize_t got = pread(fd, to + done, length - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

void Server::read(Request& request, Scratch& scratch) {
  ReadIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
  if (in.offset > kMaxOffset) {
    send(header.unique, EINVAL);
    return;
  }
  std::shared_ptr<Backing> backing;
  Pending pending;
  pending.belongTo(header);
  pending.fh = in.fh;
  pending.offset = in.offset;
  pending.size = std::min(in.size, config_.maxRead);
  uint64_t script = 0;
  Range range{in.offset, in.offset + pending.size};
  std::vector<Part> parts;
  bool present = false;
  {
    Lock lock(mutex_);
    auto found = handles_.find(in.fh);
    if (found == handles_.end() || found->second.mode == OpenMode::kDirectory) {
      lock.unlock();
      send(header.unique, EBADF);
      return;
    }
    script = found->second.script;
    backing = found->second.backing;
    if (backing) {
      range.end = std::min(range.end, backing->size);
      present = range.empty() || backing->has(range);
      if (present) parts = backing->parts(range);
      if (present && !backing->complete && !backing->segmented) tellReader(found->second, *backing, range);
    }
    if (backing && !present && script == 0) return awaitScript(in.fh, found->second, std::move(pending));
    if (backing && !present) {
      pending.parkedOn = backing;
      uint64_t id = pending_.add(std::move(pending), nowMillis());
      park(backing, id, range, script);
      return;
    }
  }
  if (range.empty()) {
    send(header.unique, 0);
    return;
  }
  if (present && readParts(parts, header.nodeid, header.unique, scratch)) return;
  count(kReadFallbacks, present ? 1 : 0);
  Lock lock(mutex_);
  if (script != 0) return readByScript(pending_.add(std::move(pending), nowMillis()), script);
  // Opened without JavaScript, which knows where the bytes are to be had.
  pending.byScript = true;
  auto found = handles_.find(in.fh);
  if (found != handles_.end()) return awaitScript(in.fh, found->second, std::move(pending));
  lock.unlock();
  send(header.unique, EBADF);
}

// False when the file does not have what it should: it was damaged. It is not trusted again without JavaScript.
bool Server::readParts(const std::vector<Part>& parts, uint64_t nodeid, uint64_t unique, Scratch& scratch) {
  size_t length = 0;
  for (const Part& part : parts) length += part.length;
  const Part* only = parts.size() == 1 && parts[0].file && length >= kWorthMapping ? parts.data() : nullptr;
  const uint8_t* bytes = only == nullptr ? nullptr : scratch.window.residentAt(only->file, only->offset, length);
  if (bytes == nullptr) {
    if (scratch.data.size() < length) scratch.data.resize(std::max<size_t>(length, config_.maxRead));
    uint8_t* to = scratch.data.data();
    for (const Part& part : parts) {
      if (!part.file) {
        std::memcpy(to, part.bytes->data() + part.offset, part.length);
      } else if (!readFile(part.file->fd, part.offset, to, part.length, scratch.beforeWaiting)) {
        distrust(nodeid);
        return false;
      }
      to += part.length;
    }
    bytes = scratch.data.data();
  }
  count(kBackedReads);
  count(kBackedBytes, length);
  // Cut in this very moment: the kernel has answered EIO.
  if (send(unique, 0, bytes, length) == EFAULT) distrust(nodeid);
  return true;
}

// The bytes come through JavaScript. The lock is held.
void Server::readByScript(uint64_t pendingId, uint64_t script) {
  const Pending& request = *pending_.find(pendingId);
  Job job;
  job.kind = kRead;
  job.id = pendingId;
  setCaller(job, request);
  job.a = script;
  job.b = request.offset;
  job.c = request.size;
  count(kToScript);
  jobs_.push(std::move(job));
}

// The next open asks JavaScript for the content.
void Server::distrust(uint64_t nodeid) {
  Lock lock(mutex_);
  sealed_.erase(nodeid);
  dropBackingId(nodeid);
}

void Server::park(const std::shared_ptr<Backing>& backing, uint64_t pendingId, Range range, uint64_t script) {
  count(kParked);
  backing->waiters.push_back({pendingId, range, script});
  startFills(*backing, backing, range, script);
}

// One fill for each part that is neither there nor on its way. Of what is being received JavaScript is asked only now and
// then: that it knows how far the reader is.
void Server::startFills(Backing& backing, const std::shared_ptr<Backing>& shared, Range range, uint64_t script) {
  RangeSet coming;
  const bool isNear = range.begin >= backing.askedAt && range.begin - backing.askedAt < kAskStride;
  if (isNear) {
    for (const Range& part : backing.coming) coming.add(part);
  } else {
    backing.askedAt = range.begin;
  }
  for (const Backing::Fill& fill : backing.fills) coming.add(fill.range);
  for (const Range& absent : backing.missing(range)) {
    for (const Range& gap : coming.missing(absent)) pushFill(backing, shared, gap, script);
  }
}

// A fill of what is there, for the sake of what is behind it.
void Server::tellReader(Handle& handle, Backing& backing, Range range) {
  if (handle.script == 0 || range.empty()) return;
  // In whatever order a kernel that reads ahead sends them.
  const bool goesOn = range.begin <= handle.readTo + kLargestRead && range.end + kAskStride >= handle.readTo;
  handle.readTo = goesOn ? std::max(handle.readTo, range.end) : range.end;
  if (!goesOn || handle.toldTo > handle.readTo) handle.toldTo = handle.readTo;
  if (handle.readTo - handle.toldTo < kAskStride) return;
  handle.toldTo = handle.readTo;
  pushFill(backing, handle.backing, range, handle.script);
}

void Server::pushFill(Backing& backing, const std::shared_ptr<Backing>& shared, Range range, uint64_t script) {
  Job job;
  job.kind = kJobFill;
  job.id = ++lastFill_;
  job.nodeid = backing.nodeid;
  job.a = script;
  job.b = range.begin;
  job.c = range.end;
  backing.fills.push_back({job.id, range});
  fills_.emplace(job.id, shared);
  count(kFills);
  jobs_.push(std::move(job));
}

// A waiter gave up. Fills that nobody waits for any more are called off.
void Server::unpark(const std::shared_ptr<Backing>& backing, uint64_t pendingId, int error) {
  auto& waiters = backing->waiters;
  waiters.erase(std::remove_if(waiters.begin(), waiters.end(), [&](auto& w) { return w.pendingId == pendingId; }),
                waiters.end());
  auto& fills = backing->fills;
  for (auto fill = fills.begin(); fill != fills.end();) {
    bool wanted = std::any_of(waiters.begin(), waiters.end(), [&](auto& w) { return w.range.overlaps(fill->range); });
    if (wanted) {
      ++fill;
      continue;
    }
    Job job;
    job.kind = kJobAbort;
    job.a = fill->id;
    job.b = 1;
    job.c = static_cast<uint64_t>(error);
    jobs_.push(std::move(job));
    fills_.erase(fill->id);
    fill = fills.erase(fill);
  }
}

bool Server::addSegments(uint64_t fillId, const std::vector<ToldSegment>& told, const std::string& literals) {
  auto bytes = std::make_shared<const std::string>(literals);
  Lock lock(mutex_);
  auto found = fills_.find(fillId);
  if (found == fills_.end() || !found->second->segmented) return false;
  for (const ToldSegment& segment : told) {
    Part part;
    part.offset = segment.offset;
    part.length = static_cast<size_t>(segment.range.end - segment.range.begin);
    if (segment.range.empty() || segment.range.end > found->second->size) return false;
    if (segment.fd < 0) {
      if (segment.offset > literals.size() || part.length > literals.size() - segment.offset) return false;
      part.bytes = bytes;
    } else {
      struct stat status {};
      if (fstat(segment.fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
      part.file = ownFd(segment.fd, status.st_dev, status.st_ino);
      if (!part.file) return false;
    }
    found->second->addSegment(segment.range, std::move(part));
  }
  return true;
}

void Server::fillDone(uint64_t fillId, int error, bool useRead, bool complete, const std::vector<Range>& present) {
  std::vector<uint64_t> failed;
  bool ready = false;
  {
    Lock lock(mutex_);
    auto found = fills_.find(fillId);
    if (found == fills_.end()) return;
    std::shared_ptr<Backing> backing = found->second;
    fills_.erase(found);
    auto fill = std::find_if(backing->fills.begin(), backing->fills.end(), [&](auto& f) { return f.id == fillId; });
    Range range = fill->range;
    backing->fills.erase(fill);
    backing->complete = backing->complete || complete;
    for (const Range& part : present) backing->present.add(part);
    // Of segments only what was told is there.
    if (error == 0 && !useRead && !backing->segmented) backing->present.add(range);

    std::vector<Backing::Waiter> waiters = std::move(backing->waiters);
    backing->waiters.clear();
    for (Backing::Waiter& waiter : waiters) {
      Pending* request = pending_.find(waiter.pendingId);
      if (request == nullptr) continue;
      if (backing->has(waiter.range)) {
        Pending taken;
        pending_.take(waiter.pendingId, taken);
        taken.parkedOn = nullptr;
        parked_.push_back({std::move(taken), backing->parts(waiter.range)});
        ready = true;
      } else if (waiter.range.overlaps(range) && useRead && waiter.script != 0) {
        request->parkedOn = nullptr;
        readByScript(waiter.pendingId, waiter.script);
      } else if (waiter.range.overlaps(range) && (error != 0 || useRead)) {
        request->parkedOn = nullptr;
        failed.push_back(waiter.pendingId);
      } else {
        backing->waiters.push_back(waiter);
        startFills(*backing, backing, waiter.range, waiter.script);
      }
    }
  }
  for (uint64_t id : failed) replyError(id, error == 0 ? EIO : error);
  if (ready && parkedReady_) parkedReady_();
}

bool Server::answerParked(Scratch& scratch) {
  std::vector<Parked> work;
  {
    Lock lock(mutex_);
    work.swap(parked_);
  }
  for (Parked& parked : work) {
    const Pending& request = parked.request;
    if (!readParts(parked.parts, request.nodeid, request.unique, scratch)) send(request.unique, EIO);
  }
  return !work.empty();
}

}  // namespace imgfs::fuse
