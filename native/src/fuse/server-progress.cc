// What receivers tell of the files behind inodes.
#include <algorithm>

#include "server.h"

namespace imgfs::fuse {

// Partial backings in this file, with the part of `range` that each has, by its own offsets. Under the lock.
std::vector<std::pair<std::shared_ptr<Backing>, Range>> Server::backingsOf(dev_t device, ino_t inode, Range range) {
  std::vector<std::pair<std::shared_ptr<Backing>, Range>> found;
  for (const auto& [nodeid, known] : partial_) {
    std::shared_ptr<Backing> backing = known.lock();
    if (!backing || backing->segmented || backing->device != device || backing->inode != inode) continue;
    const uint64_t base = backing->base;
    const Range own{std::max(range.begin, base) - base, std::min(std::max(range.end, base) - base, backing->size)};
    if (!own.empty()) found.emplace_back(std::move(backing), own);
  }
  return found;
}

// Moves waiters whose bytes are there to where they are answered; true when there were any.
bool Server::releasePresent(Backing& backing) {
  bool ready = false;
  auto& waiters = backing.waiters;
  for (auto waiter = waiters.begin(); waiter != waiters.end();) {
    Pending taken;
    if (pending_.find(waiter->pendingId) == nullptr) {
      waiter = waiters.erase(waiter);
      continue;
    }
    if (!backing.has(waiter->range)) {
      ++waiter;
      continue;
    }
    pending_.take(waiter->pendingId, taken);
    taken.parkedOn = nullptr;
    parked_.push_back({std::move(taken), backing.parts(waiter->range)});
    waiter = waiters.erase(waiter);
    ready = true;
  }
  return ready;
}

void Server::fileComing(dev_t device, ino_t inode, Range range) {
  Lock lock(mutex_);
  for (auto& [backing, own] : backingsOf(device, inode, range)) backing->coming.push_back(own);
}

void Server::filePresent(dev_t device, ino_t inode, Range range) {
  bool ready = false;
  {
    Lock lock(mutex_);
    for (auto& [backing, own] : backingsOf(device, inode, range)) {
      backing->present.add(own);
      ready = releasePresent(*backing) || ready;
    }
  }
  if (ready && parkedReady_) parkedReady_();
}

// Whoever waits for what did not come asks JavaScript, which knows why.
void Server::fileOver(dev_t device, ino_t inode, Range range) {
  Lock lock(mutex_);
  for (auto& [backing, own] : backingsOf(device, inode, range)) {
    auto& coming = backing->coming;
    const auto same = [own = own](const Range& one) { return one.begin == own.begin && one.end == own.end; };
    const auto found = std::find_if(coming.begin(), coming.end(), same);
    if (found == coming.end()) continue;
    coming.erase(found);
    backing->askedAt = backing->size;
    for (const Backing::Waiter& waiter : backing->waiters)
      if (waiter.range.overlaps(own)) startFills(*backing, backing, waiter.range, waiter.script);
  }
}

}  // namespace imgfs::fuse
