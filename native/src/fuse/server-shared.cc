// Files on disk that many inodes lie in: opened without JavaScript, which is asked when bytes are missing.
//
// What is present may be given back to the disk by JavaScript (takeBack) while nobody has a file open that lies there.
// A handle counts from before the kernel knows it until it has released it, which it does after its last read.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <unordered_set>

#include "server.h"

namespace imgfs::fuse {
namespace {

// Who opens a file so near in front of bytes that are missing is told to JavaScript, which has them fetched and decoded
// in time: as far as it decodes ahead (maxDecodedAheadBytes in src/layer/read/layer-data.ts).
constexpr uint64_t kAhead = 8 << 20;

// Files so small are given to the kernel along with the answer to OPEN: 3 us of copying instead of a READ of 25 us, behind
// which programs that look whether a file changed (tar) have to ask for its attributes again, since reading it is said
// to change its time of access.
constexpr uint64_t kMaxStored = 128 << 10;

}  // namespace

bool Server::putFile(uint32_t id, int fd, uint64_t size, const std::vector<Range>& present) {
  struct stat status {};
  if (id == 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  Lock lock(mutex_);
  // Never a descriptor that is there already: it may be of a layer that was closed, and its lock would stay.
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0) return false;
  auto file = std::make_shared<SharedFile>();
  file->file = std::make_shared<OpenFd>(own);
  file->device = status.st_dev;
  file->inode = status.st_ino;
  file->size = size;
  for (const Range& range : present) file->present.add(range);
  files_[{file->device, file->inode}] = file->file;
  shared_[id] = std::move(file);
  return true;
}

void Server::addRanges(uint32_t id, const std::vector<Range>& present) {
  Lock lock(mutex_);
  auto found = shared_.find(id);
  if (found == shared_.end()) return;
  for (const Range& range : present) found->second->present.add(range);
}

std::vector<bool> Server::takeBack(uint32_t id, const std::vector<Range>& ranges, bool forced) {
  std::vector<bool> mayGo(ranges.size(), true);
  Lock lock(mutex_);
  auto found = shared_.find(id);
  if (found == shared_.end()) return mayGo;
  SharedFile& file = *found->second;
  auto isOfFile = [&](const Backing& backing) { return backing.device == file.device && backing.inode == file.inode; };
  RangeSet used;
  std::unordered_set<const Backing*> open;
  for (const auto& [fh, handle] : handles_) {
    if (!handle.backing || !isOfFile(*handle.backing) || !open.insert(handle.backing.get()).second) continue;
    used.add(handle.backing->place());
    if (!forced) continue;
    Range all{0, handle.backing->size};
    RangeSet absent;
    for (const Range& gap : handle.backing->missing(all)) absent.add(gap);
    for (const Range& there : absent.missing(all)) handle.backing->present.add(there);
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    std::vector<Range> unused = used.missing(ranges[i]);
    mayGo[i] = ranges[i].empty() ||
               (unused.size() == 1 && unused[0].begin == ranges[i].begin && unused[0].end == ranges[i].end);
    if (mayGo[i] || forced) file.present.remove(ranges[i]);
  }
  // What a fill or an answer under way still holds, though nobody has it open.
  for (auto& [nodeid, known] : partial_) {
    std::shared_ptr<Backing> backing = known.lock();
    if (!backing || !isOfFile(*backing) || open.count(backing.get()) != 0) continue;
    backing->complete = false;
    backing->present.clear();
  }
  return mayGo;
}

void Server::dropFile(uint32_t id) {
  Lock lock(mutex_);
  shared_.erase(id);
}

// The lock is held.
bool Server::openShared(uint64_t nodeid, Handle& handle, SharedOpen& open) {
  Inode* inode = inodes_.find(nodeid);
  if (inode == nullptr || inode->file == 0) return false;
  auto found = shared_.find(inode->file);
  if (found == shared_.end()) return false;
  const SharedFile& file = *found->second;
  if (inode->fileOffset > file.size || inode->attributes.size > file.size - inode->fileOffset) return false;
  Range place{inode->fileOffset, inode->fileOffset + inode->attributes.size};
  handle.backing = sharedBacking(nodeid, found->second, place);
  // Only a file that begins where the shared one does can pass through.
  if (place.begin == 0) handle.backing->complete = handle.backing->has({0, handle.backing->size});
  handle.mode = chooseMode(nodeid, handle.backing, true, false);
  // What is missing itself will be asked for by who reads it.
  bool isPresent = file.present.covers(place);
  open.isNearMissing = isPresent && !file.present.covers({place.begin, std::min(place.end + kAhead, file.size)});
  // The kernel locks pages that it reads, and storing waits for them: nobody else may have it open. Pages that it dropped
  // are its business.
  const Opens& opens = opens_[nodeid];
  bool isAlone = opens.cached == 1 && opens.passthrough == 0 && handle.mode == OpenMode::kCached;
  if (isPresent && isAlone && !inode->stored && !place.empty() && handle.backing->size <= kMaxStored) {
    inode->stored = true;
    open.pages = Part{file.file, nullptr, place.begin, static_cast<size_t>(handle.backing->size)};
  }
  return true;
}

// Only what is in memory: who waits for OPEN may not want the bytes at all.
void Server::storePages(uint64_t nodeid, const Part& pages, Scratch& scratch) {
  if (scratch.data.size() < pages.length) scratch.data.resize(std::max<size_t>(pages.length, config_.maxRead));
  iovec part{scratch.data.data(), pages.length};
  ssize_t got = preadv2(pages.file->fd, &part, 1, static_cast<off_t>(pages.offset), RWF_NOWAIT);
  // tmpfs and overlayfs cannot tell.
  if (got < 0 && errno == EOPNOTSUPP) got = pread(pages.file->fd, part.iov_base, pages.length, static_cast<off_t>(pages.offset));
  if (got != static_cast<ssize_t>(pages.length)) return;
  StoreOut body{nodeid, 0, static_cast<uint32_t>(pages.length), 0};
  OutHeader header{static_cast<uint32_t>(sizeof(OutHeader) + sizeof(body) + pages.length), kNotifyStore, 0};
  iovec parts[3] = {{&header, sizeof(header)}, {&body, sizeof(body)}, part};
  if (channel_.send(parts, 3) == 0) count(kStoredFiles);
}

std::shared_ptr<Backing> Server::sharedBacking(uint64_t nodeid, const std::shared_ptr<SharedFile>& file, Range place) {
  std::shared_ptr<Backing> backing = knownBacking(nodeid, file->device, file->inode, place);
  if (!backing) backing = newBacking(nodeid, file->file, file->device, file->inode, place);
  backing->shared = file;
  return backing;
}

// A read waits until JavaScript has a handle for it. The lock is held.
void Server::awaitScript(uint64_t fh, Handle& handle, Pending pending) {
  Job job;
  job.kind = kJobReopen;
  job.id = fh;
  setCaller(job, pending);
  handle.waiting.push_back(pending_.add(std::move(pending), nowMillis()));
  if (handle.asked) return;
  handle.asked = true;
  count(kReopens);
  jobs_.push(std::move(job));
}

// Goes on with a read that waited for its handle. True when its bytes are there. The lock is held.
bool Server::resume(Handle& handle, uint64_t pendingId) {
  Pending* request = pending_.find(pendingId);
  if (request == nullptr) return false;
  const std::shared_ptr<Backing>& backing = handle.backing;
  if (!backing || request->byScript) {
    readByScript(pendingId, handle.script);
    return false;
  }
  Range range{request->offset, std::min(request->offset + request->size, backing->size)};
  if (!range.empty() && !backing->has(range)) {
    request->parkedOn = backing;
    park(backing, pendingId, range, handle.script);
    return false;
  }
  Pending taken;
  pending_.take(pendingId, taken);
  parked_.push_back({std::move(taken), range.empty() ? std::vector<Part>{} : backing->parts(range)});
  return true;
}

Delivery Server::replyReopen(uint64_t fh, const OpenAnswer& answer) {
  bool ready = false, adopted = false;
  {
    Lock lock(mutex_);
    auto found = handles_.find(fh);
    if (found == handles_.end() || !found->second.asked) return Delivery::kGone;
    Handle& handle = found->second;
    handle.asked = false;
    handle.script = answer.script;
    handle.backing = answer.fd >= 0 ? backingFor(handle.nodeid, answer) : nullptr;
    adopted = handle.backing && handle.backing->complete;
    for (uint64_t id : std::exchange(handle.waiting, {})) {
      const Pending* request = pending_.find(id);
      if (request != nullptr && request->byScript) adopted = false;
      ready = resume(handle, id) || ready;
    }
    if (adopted) handle.script = 0;
  }
  if (ready && parkedReady_) parkedReady_();
  return adopted ? Delivery::kAdopted : Delivery::kDelivered;
}

void Server::reopenFailed(uint64_t fh, int error) {
  std::vector<uint64_t> failed;
  {
    Lock lock(mutex_);
    auto found = handles_.find(fh);
    if (found == handles_.end()) return;
    found->second.asked = false;
    failed = std::exchange(found->second.waiting, {});
  }
  for (uint64_t id : failed) replyError(id, error);
}

}  // namespace imgfs::fuse
