// Opening and closing files: which way the kernel reads them, and the files on disk behind them.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "server.h"

namespace imgfs::fuse {

void Server::open(Request& request, Scratch& scratch) {
  OpenIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
  uint64_t fh = 0;
  Handle handle;
  SharedOpen shared;
  bool isShared = false;
  if ((in.flags & (O_ACCMODE | O_TRUNC | O_APPEND)) == O_RDONLY) {
    Lock lock(mutex_);
    isShared = openShared(header.nodeid, handle, shared);
    if (isShared || openSealed(header.nodeid, handle)) {
      handle.nodeid = header.nodeid;
      fh = ++lastHandle_;
      handles_.emplace(fh, handle);
    }
  }
  if (fh != 0) {
    count(isShared ? kSharedOpens : kSealedOpens);
    if (shared.pages.length > 0) storePages(header.nodeid, shared.pages, scratch);
    finishOpen(header.unique, fh, handle, true);
    if (!shared.isNearMissing) return;
    Job job;
    job.kind = kJobPassed;
    job.nodeid = header.nodeid;
    jobs_.push(std::move(job));
    return;
  }
  Job job;
  job.a = in.flags;
  Pending pending;
  pending.flags = in.flags;
  toScript(request, std::move(job), std::move(pending));
}

// A whole file that JavaScript said something about not long ago. The lock is held.
bool Server::openSealed(uint64_t nodeid, Handle& handle) {
  auto found = sealed_.find(nodeid);
  if (found == sealed_.end()) return false;
  const std::shared_ptr<Backing>& backing = found->second.backing;
  struct stat status {};
  // A file without a name was evicted: JavaScript decides where the content comes from now.
  if (found->second.expiry > nowMillis() && fstat(backing->file->fd, &status) == 0 && status.st_nlink > 0) {
    handle.mode = chooseMode(nodeid, backing, true, false);
    if (handle.mode != OpenMode::kPassthrough) handle.backing = backing;
    return true;
  }
  sealed_.erase(found);
  dropBackingId(nodeid);
  return false;
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
    if (answer.segmented && !handle.writable) backing = segmentedBacking(request.nodeid);
    handle.nodeid = request.nodeid;
    handle.script = answer.script;
    handle.mode = chooseMode(request.nodeid, backing, answer.keepCache, answer.directIo);
    // Of a shared file nothing goes while it is open, whoever reads it.
    if (handle.mode != OpenMode::kPassthrough || (backing && backing->shared)) handle.backing = backing;
    // All reads are answered from a descriptor that is ours: the FileSystem may close its own.
    adopted = handle.mode == OpenMode::kPassthrough || (backing && backing->complete);
    if (adopted) handle.script = 0;
    if (backing && answer.keepCache && backing->shared) {
      // The next open is answered from here.
      if (Inode* inode = inodes_.find(request.nodeid)) {
        inode->file = answer.file;
        inode->fileOffset = answer.base;
      }
    } else if (backing && backing->complete && answer.keepCache) {
      seal(backing);
    }
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

void Server::expireContent(uint64_t ino) {
  expireAttributes(ino);
  Lock lock(mutex_);
  sealed_.erase(ino);
  dropBackingId(ino);
  partial_.erase(ino);
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

// For one handle alone: what keeps its segments where they are ends with the FileSystem's handle.
std::shared_ptr<Backing> Server::segmentedBacking(uint64_t nodeid) {
  const Inode* inode = inodes_.find(nodeid);
  if (inode == nullptr) return nullptr;
  auto backing = std::make_shared<Backing>();
  backing->nodeid = nodeid;
  backing->size = inode->attributes.size;
  backing->segmented = true;
  return backing;
}

std::shared_ptr<Backing> Server::backingFor(uint64_t nodeid, const OpenAnswer& answer) {
  struct stat status {};
  const Inode* inode = inodes_.find(nodeid);
  if (inode == nullptr || fstat(answer.fd, &status) != 0 || !S_ISREG(status.st_mode)) return nullptr;
  Range place{answer.base, answer.base + inode->attributes.size};
  auto shared = shared_.find(answer.file);
  std::shared_ptr<Backing> backing;
  if (shared != shared_.end() && shared->second->device == status.st_dev && shared->second->inode == status.st_ino)
    backing = sharedBacking(nodeid, shared->second, place);
  if (!backing) backing = knownBacking(nodeid, status.st_dev, status.st_ino, place);
  if (!backing) {
    std::shared_ptr<OpenFd> file = ownFd(answer.fd, status.st_dev, status.st_ino);
    if (!file) return nullptr;
    backing = newBacking(nodeid, std::move(file), status.st_dev, status.st_ino, place);
  }
  backing->complete = backing->complete || answer.complete;
  for (const Range& range : answer.present) backing->present.add(range);
  return backing;
}

// That of an earlier handle, if it is of the same bytes: fills are shared by all who wait.
std::shared_ptr<Backing> Server::knownBacking(uint64_t nodeid, dev_t device, ino_t inode, Range place) {
  std::shared_ptr<Backing> backing = partial_[nodeid].lock();
  bool same = backing && backing->device == device && backing->inode == inode && backing->base == place.begin &&
              backing->size == place.end - place.begin;
  return same ? backing : nullptr;
}

std::shared_ptr<Backing> Server::newBacking(uint64_t nodeid, std::shared_ptr<OpenFd> file, dev_t device, ino_t inode,
                                            Range place) {
  auto backing = std::make_shared<Backing>();
  backing->nodeid = nodeid;
  backing->file = std::move(file);
  backing->device = device;
  backing->inode = inode;
  backing->base = place.begin;
  backing->size = place.end - place.begin;
  partial_[nodeid] = backing;
  return backing;
}

void Server::release(Request& request) {
  ReleaseIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
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
