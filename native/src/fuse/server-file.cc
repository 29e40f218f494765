// Files: opening, reading from their backing file, asking for what is missing.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "server.h"

namespace imgfs::fuse {
namespace {

// JavaScript's numbers are exact up to 2^53; no file is that long.
constexpr uint64_t kMaxOffset = (1ull << 53) - (1ull << 32);

}  // namespace

void Server::open(Request& request) {
  OpenIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) {
    count(kMalformed);
    send(header.unique, EIO);
    return;
  }
  uint64_t fh = 0;
  Handle handle;
  if ((in.flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY) {
    Lock lock(mutex_);
    auto found = sealed_.find(header.nodeid);
    struct stat status {};
    // A file without a name was evicted: JavaScript decides where the content comes from now.
    bool usable = found != sealed_.end() && found->second.expiry > nowMillis() &&
                  fstat(found->second.backing->file->fd, &status) == 0 && status.st_nlink > 0;
    if (usable) {
      handle.nodeid = header.nodeid;
      handle.mode = chooseMode(header.nodeid, found->second.backing, true, false);
      if (handle.mode != OpenMode::kPassthrough) handle.backing = found->second.backing;
      fh = ++lastHandle_;
      handles_.emplace(fh, handle);
    } else if (found != sealed_.end()) {
      sealed_.erase(found);
      dropBackingId(header.nodeid);
    }
  }
  if (fh != 0) {
    count(kSealedOpens);
    finishOpen(header.unique, fh, handle, true);
    return;
  }
  Job job;
  job.a = in.flags;
  Pending pending;
  pending.flags = in.flags;
  toScript(request, std::move(job), std::move(pending));
}

OpenOut Server::makeOpen(uint64_t fh, const Handle& handle, bool keepCache) {
  OpenOut out{};
  out.fh = fh;
  // FLUSH has nothing to do for a file that cannot be written.
  if (!handle.writable) out.openFlags |= kOpenNoFlush;
  if (handle.mode == OpenMode::kDirect) out.openFlags |= kOpenDirectIo;
  // Together with passthrough the kernel refuses KEEP_CACHE (fs/fuse/iomode.c, FOPEN_PASSTHROUGH_MASK).
  if (handle.mode != OpenMode::kPassthrough && keepCache) out.openFlags |= kOpenKeepCache;
  if (handle.mode == OpenMode::kPassthrough) {
    out.openFlags |= kOpenPassthrough;
    Lock lock(mutex_);
    out.backingId = opens_[handle.nodeid].backingId;
  }
  count(handle.mode == OpenMode::kPassthrough ? kPassthroughOpens : kCachedOpens);
  return out;
}

// Sends the answer; takes the handle back when nobody waits for it. 0, or why it was not delivered.
int Server::finishOpen(uint64_t unique, uint64_t fh, const Handle& handle, bool keepCache) {
  OpenOut out = makeOpen(fh, handle, keepCache);
  int result = send(unique, 0, &out, sizeof(out));
  if (result != 0) {
    Lock lock(mutex_);
    closed(handle.nodeid, handle.mode);
    handles_.erase(fh);
  }
  return result;
}

Delivery Server::replyOpen(uint64_t id, const OpenAnswer& answer) {
  Pending request;
  Handle handle;
  uint64_t fh = 0;
  bool adopted = false;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return Delivery::kGone;
    handle.writable = (request.flags & O_ACCMODE) != O_RDONLY;
    // What is being written is read through JavaScript, which knows what was written.
    bool backed = answer.fd >= 0 && !handle.writable;
    std::shared_ptr<Backing> backing = backed ? backingFor(request.nodeid, answer) : nullptr;
    handle.nodeid = request.nodeid;
    handle.script = answer.script;
    handle.mode = chooseMode(request.nodeid, backing, answer.keepCache, answer.directIo);
    if (handle.mode != OpenMode::kPassthrough) handle.backing = backing;
    // All reads are answered from a descriptor that is ours: the FileSystem may close its own.
    adopted = handle.mode == OpenMode::kPassthrough || (backing && backing->complete);
    if (adopted) handle.script = 0;
    if (backing && backing->complete && answer.keepCache) seal(backing);
    fh = ++lastHandle_;
    handles_.emplace(fh, handle);
  }
  if (finishOpen(request.unique, fh, handle, answer.keepCache) != 0) return Delivery::kGone;
  return adopted ? Delivery::kAdopted : Delivery::kDelivered;
}

// The state machine of the kernel's two ways to open a file. Decided and counted under one lock; the kernel lets go
// before it sends RELEASE, so what is counted here is never less than what the kernel holds.
OpenMode Server::chooseMode(uint64_t nodeid, const std::shared_ptr<Backing>& backing, bool keepCache, bool directIo) {
  Opens& opens = opens_[nodeid];
  if (opens.passthrough == 0) {
    if (directIo) return OpenMode::kDirect;
    bool possible = opens.cached == 0 && passthrough_.load() && keepCache && backing && backing->complete &&
                    backing->base == 0;
    if (possible && opens.backingId == 0) {
      struct stat status {};
      int registered = -EINVAL;
      if (fstat(backing->file->fd, &status) == 0 && static_cast<uint64_t>(status.st_size) == backing->size)
        registered = channel_.openBacking(backing->file->fd);
      // No right to register files: it will not come back while this mount lives.
      if (registered == -EPERM || registered == -ENOTTY) passthrough_.store(false);
      if (registered > 0) opens.backingId = registered;
    }
    if (!possible || opens.backingId == 0) {
      opens.cached += 1;
      return OpenMode::kCached;
    }
  }
  // While one handle passes through, every other one must, with the same id.
  opens.passthrough += 1;
  return OpenMode::kPassthrough;
}

void Server::closed(uint64_t nodeid, OpenMode mode) {
  auto found = opens_.find(nodeid);
  if (found == opens_.end()) return;
  Opens& opens = found->second;
  if (mode == OpenMode::kCached && opens.cached > 0) opens.cached -= 1;
  if (mode == OpenMode::kPassthrough && opens.passthrough > 0) opens.passthrough -= 1;
  if (sealed_.count(nodeid) == 0) dropBackingId(nodeid);
}

// Gives the passthrough id back when nobody needs it. An id in use is kept: a second id of the same file is EIO.
void Server::dropBackingId(uint64_t nodeid) {
  auto found = opens_.find(nodeid);
  if (found == opens_.end() || found->second.passthrough > 0) return;
  if (found->second.backingId > 0) channel_.closeBacking(found->second.backingId);
  found->second.backingId = 0;
  if (found->second.cached == 0) opens_.erase(found);
}

void Server::seal(const std::shared_ptr<Backing>& backing) {
  Millis now = nowMillis();
  if (sealed_.size() >= config_.maxSealed) trimSealed(now, config_.maxSealed * 3 / 4);
  if (config_.maxSealed > 0) sealed_[backing->nodeid] = Sealed{backing, now + config_.sealedTtl};
}

// Lets go of files that are over their time or were evicted (their space is only freed then), and of any others
// beyond `most`.
void Server::trimSealed(Millis now, size_t most) {
  size_t excess = sealed_.size() > most ? sealed_.size() - most : 0;
  for (auto it = sealed_.begin(); it != sealed_.end();) {
    struct stat status {};
    bool evicted = fstat(it->second.backing->file->fd, &status) != 0 || status.st_nlink == 0;
    if (evicted || it->second.expiry <= now || excess > 0) {
      if (excess > 0) --excess;
      uint64_t nodeid = it->first;
      it = sealed_.erase(it);
      dropBackingId(nodeid);
    } else {
      ++it;
    }
  }
  for (auto it = files_.begin(); it != files_.end();) it = it->second.expired() ? files_.erase(it) : std::next(it);
  for (auto it = partial_.begin(); it != partial_.end();) it = it->second.expired() ? partial_.erase(it) : std::next(it);
}

// A descriptor of our own: the FileSystem's may be closed, and its number used again, while a read is under way.
// One for each file on disk, however many inodes lie in it.
std::shared_ptr<OpenFd> Server::ownFd(int fd, dev_t device, ino_t inode) {
  std::weak_ptr<OpenFd>& known = files_[{device, inode}];
  if (std::shared_ptr<OpenFd> file = known.lock()) return file;
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0 && (errno == EMFILE || errno == ENFILE)) {
    trimSealed(nowMillis(), 0);
    own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  }
  if (own < 0) return nullptr;
  auto file = std::make_shared<OpenFd>(own);
  files_[{device, inode}] = file;
  return file;
}

std::shared_ptr<Backing> Server::backingFor(uint64_t nodeid, const OpenAnswer& answer) {
  struct stat status {};
  const Inode* inode = inodes_.find(nodeid);
  if (inode == nullptr || fstat(answer.fd, &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
  std::shared_ptr<Backing> backing = partial_[nodeid].lock();
  bool same = backing && backing->device == status.st_dev && backing->inode == status.st_ino &&
              backing->base == answer.base && backing->size == inode->attributes.size;
  if (!same) {
    std::shared_ptr<OpenFd> file = ownFd(answer.fd, status.st_dev, status.st_ino);
    if (!file) return nullptr;
    backing = std::make_shared<Backing>();
    backing->nodeid = nodeid;
    backing->file = std::move(file);
    backing->device = status.st_dev;
    backing->inode = status.st_ino;
    backing->base = answer.base;
    backing->size = inode->attributes.size;
    partial_[nodeid] = backing;
  }
  backing->complete = backing->complete || answer.complete;
  for (const Range& range : answer.present) backing->present.add(range);
  return backing;
}

void Server::read(Request& request, Scratch& scratch) {
  ReadIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) {
    count(kMalformed);
    send(header.unique, EIO);
    return;
  }
  if (in.offset > kMaxOffset) {
    send(header.unique, EINVAL);
    return;
  }
  std::shared_ptr<Backing> backing;
  Pending pending;
  pending.fh = in.fh;
  pending.offset = in.offset;
  pending.size = std::min(in.size, config_.maxRead);
  Job job;
  job.b = in.offset;
  job.c = pending.size;
  Range range{in.offset, in.offset + pending.size};
  bool present = false;
  {
    Lock lock(mutex_);
    auto found = handles_.find(in.fh);
    if (found == handles_.end() || found->second.mode == OpenMode::kDirectory ) {
      lock.unlock();
      send(header.unique, EBADF);
      return;
    }
    job.a = found->second.script;
    backing = found->second.backing;
    if (backing) {
      range.end = std::min(range.end, backing->size);
      present = range.empty() || backing->has(range);
    }
    if (backing && !present) {
      pending.unique = header.unique;
      pending.nodeid = header.nodeid;
      pending.opcode = header.opcode;
      pending.pid = header.pid;
      pending.parkedOn = backing;
      uint64_t id = pending_.add(std::move(pending), nowMillis());
      park(lock, backing, id, range, job.a);
      return;
    }
  }
  if (range.empty()) {
    send(header.unique, 0);
    return;
  }
  if (present && readBacked(*backing, header.unique, range, scratch)) return;
  if (job.a != 0) {
    count(kReadFallbacks, present ? 1 : 0);
    toScript(request, std::move(job), std::move(pending));
    return;
  }
  send(header.unique, EIO);
}

// False when the file does not have what it should: it was damaged. It is not trusted again without JavaScript.
bool Server::readBacked(const Backing& backing, uint64_t unique, Range range, Scratch& scratch) {
  size_t length = static_cast<size_t>(range.end - range.begin);
  if (scratch.data.size() < length) scratch.data.resize(config_.maxRead);
  size_t done = 0;
  while (done < length) {
    ssize_t got = pread(backing.file->fd, scratch.data.data() + done, length - done,
                        static_cast<off_t>(backing.base + range.begin + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      Lock lock(mutex_);
      sealed_.erase(backing.nodeid);
      dropBackingId(backing.nodeid);
      return false;
    }
    done += static_cast<size_t>(got);
  }
  count(kBackedReads);
  count(kBackedBytes, length);
  send(unique, 0, scratch.data.data(), length);
  return true;
}

void Server::park(Lock&, const std::shared_ptr<Backing>& backing, uint64_t pendingId, Range range, uint64_t script) {
  count(kParked);
  backing->waiters.push_back({pendingId, range, script});
  startFills(*backing, backing, range, script);
}

// One fill for each part that is neither there nor on its way.
void Server::startFills(Backing& backing, const std::shared_ptr<Backing>& shared, Range range, uint64_t script) {
  RangeSet coming;
  for (const Backing::Fill& fill : backing.fills) coming.add(fill.range);
  for (const Range& absent : backing.present.missing(range)) {
    for (const Range& gap : coming.missing(absent)) {
      Job job;
      job.kind = kJobFill;
      job.id = ++lastFill_;
      job.nodeid = backing.nodeid;
      job.a = script;
      job.b = gap.begin;
      job.c = gap.end;
      backing.fills.push_back({job.id, gap});
      fills_.emplace(job.id, shared);
      count(kFills);
      jobs_.push(std::move(job));
    }
  }
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
    if (error == 0 && !useRead) backing->present.add(range);

    std::vector<Backing::Waiter> waiters = std::move(backing->waiters);
    backing->waiters.clear();
    for (Backing::Waiter& waiter : waiters) {
      Pending* request = pending_.find(waiter.pendingId);
      if (request == nullptr) continue;
      if (backing->has(waiter.range)) {
        Pending taken;
        pending_.take(waiter.pendingId, taken);
        taken.parkedOn = nullptr;
        parked_.push_back({std::move(taken), backing, waiter.script});
        ready = true;
      } else if (waiter.range.overlaps(range) && useRead && waiter.script != 0) {
        request->parkedOn = nullptr;
        Job job;
        job.kind = kRead;
        job.id = waiter.pendingId;
        job.nodeid = backing->nodeid;
        job.a = waiter.script;
        job.b = request->offset;
        job.c = request->size;
        jobs_.push(std::move(job));
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
    Range range{request.offset, std::min(request.offset + request.size, parked.backing->size)};
    if (!readBacked(*parked.backing, request.unique, range, scratch)) send(request.unique, EIO);
  }
  return !work.empty();
}

void Server::release(Request& request) {
  ReleaseIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) {
    count(kMalformed);
    send(header.unique, EIO);
    return;
  }
  {
    Lock lock(mutex_);
    auto found = handles_.find(in.fh);
    if (found != handles_.end() && found->second.mode != OpenMode::kDirectory) {
      if (found->second.script != 0) {
        Job job;
        job.kind = kRelease;
        job.a = found->second.script;
        jobs_.push(std::move(job));
      }
      closed(found->second.nodeid, found->second.mode);
      handles_.erase(found);
    }
  }
  send(header.unique, 0);
}

}  // namespace imgfs::fuse
