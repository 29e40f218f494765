// Directories. Offsets on the wire: 1 is behind ".", 2 behind "..", and cookie c of the FileSystem is c + 2.
#include <errno.h>

#include <algorithm>

#include "server.h"

namespace imgfs::fuse {
namespace {

constexpr uint64_t kDots = 2;
// The kernel keeps offsets as signed 64-bit numbers.
constexpr uint64_t kMaxCookie = (1ull << 62) - 1;

}  // namespace

void Server::opendir(Request& request) {
  OpenIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
  OpenOut out{};
  {
    Lock lock(mutex_);
    if (std::shared_ptr<Listing> listing = inodes_.listing(header.nodeid)) {
      out.fh = ++lastHandle_;
      Handle handle;
      handle.nodeid = header.nodeid;
      handle.mode = OpenMode::kDirectory;
      handle.listing = std::move(listing);
      handle.complete = true;
      handles_.emplace(out.fh, std::move(handle));
    }
  }
  if (out.fh == 0) {
    Pending pending;
    toScript(request, Job{}, std::move(pending));
    return;
  }
  out.openFlags = kOpenKeepCache | kOpenCacheDir;
  if (send(header.unique, 0, &out, sizeof(out)) != 0) closeDirectory(out.fh);
}

bool Server::replyOpendir(uint64_t id, uint64_t script, bool keepCache, bool complete) {
  Pending request;
  OpenOut out{};
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    out.fh = ++lastHandle_;
    Handle handle;
    handle.nodeid = request.nodeid;
    handle.script = script;
    handle.mode = OpenMode::kDirectory;
    handle.complete = complete && keepCache;
    handles_.emplace(out.fh, std::move(handle));
  }
  out.openFlags = keepCache ? kOpenKeepCache | kOpenCacheDir : 0;
  if (send(request.unique, 0, &out, sizeof(out)) == 0) return true;
  closeDirectory(out.fh);
  return false;
}

// Forgets a directory handle; the FileSystem's behind it, 0 without one.
uint64_t Server::closeDirectory(uint64_t fh) {
  Lock lock(mutex_);
  auto found = handles_.find(fh);
  if (found == handles_.end() || found->second.mode != OpenMode::kDirectory) return 0;
  uint64_t script = found->second.script;
  Forgets forgets;
  dropHandleListing(found->second, forgets);
  handles_.erase(found);
  giveBack(forgets);
  return script;
}

void Server::dropHandleListing(Handle& handle, Forgets& forgets) {
  std::shared_ptr<Listing> listing = std::move(handle.listing);
  handle.listing = nullptr;
  if (listing && listing.use_count() == 1) inodes_.releaseEntries(*listing, forgets);
}

// Fills `out` from what the handle has. False when JavaScript must be asked, from `wantedCookie` on.
bool Server::encode(Handle& handle, uint64_t offset, size_t limit, bool plus, std::string& out,
                    std::vector<uint64_t>& counted, uint64_t& wantedCookie) {
  wantedCookie = offset < kDots ? 0 : offset - kDots;
  DirectoryEncoder encoder(out, limit, plus);
  size_t position = 0;
  if (!handle.listing || !handle.listing->find(wantedCookie, handle.hint, position)) {
    // Without JavaScript behind it the listing is all there is: an unknown cookie leads nowhere.
    return handle.script == 0;
  }
  const Listing& listing = *handle.listing;
  if (position == listing.size() && !listing.end()) {
    wantedCookie = listing.endCookie();
    return false;
  }
  uint32_t directory = 4;  // DT_DIR
  if (offset < 1 && !encoder.add(".", handle.nodeid, directory, 1, nullptr)) return true;
  if (offset < kDots) {
    Inode* self = inodes_.find(handle.nodeid);
    uint64_t parent = handle.nodeid == kRootNode ? kRootNode : self == nullptr ? 0 : self->parent;
    if (!encoder.add("..", parent == 0 ? kUnknownInode : parent, directory, kDots, nullptr)) return true;
  }
  Millis now = nowMillis();
  for (; position < listing.size(); ++position) {
    const ListedEntry& entry = listing.at(position);
    Inode* inode = plus && entry.entryExpiry > now ? inodes_.fresh(entry.ino, now) : nullptr;
    EntryOut wire;
    if (inode != nullptr) wire = makeEntry(inode->attributes, entry.entryExpiry - now, inode->attrExpiry - now);
    if (!encoder.add(listing.name(entry), entry.ino, entry.type, entry.next + kDots, inode == nullptr ? nullptr : &wire))
      break;
    if (inode != nullptr) {
      inode->kernel += 1;
      counted.push_back(entry.ino);
    }
  }
  handle.hint = position;
  return true;
}

int Server::sendListing(uint64_t unique, const std::string& out, const std::vector<uint64_t>& counted) {
  int result = send(unique, 0, out.data(), out.size());
  if (result != 0) undoLookups(counted);
  return result;
}

void Server::readdir(Request& request, bool plus, Scratch& scratch) {
  ReadIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
  std::vector<uint64_t> counted;
  Job job;
  scratch.reply.clear();
  {
    Lock lock(mutex_);
    auto found = handles_.find(in.fh);
    if (found == handles_.end() || found->second.mode != OpenMode::kDirectory) {
      lock.unlock();
      send(header.unique, EBADF);
      return;
    }
    job.a = found->second.script;
    size_t limit = std::min<size_t>(in.size, config_.maxRead);
    if (encode(found->second, in.offset, limit, plus, scratch.reply, counted, job.cookie)) job.a = 0;
  }
  if (job.a == 0) {
    sendListing(header.unique, scratch.reply, counted);
    return;
  }
  Pending pending;
  pending.fh = in.fh;
  pending.offset = in.offset;
  pending.size = in.size;
  toScript(request, std::move(job), std::move(pending));
}

// Takes packed entries in: attributes into the table, names into the listing, which pins what it names. False when
// they are malformed; those before are in then. The lock is held.
bool Server::appendPage(Listing& listing, uint64_t directory, const uint8_t* page, size_t length, size_t& added) {
  Millis now = nowMillis();
  for (size_t at = 0; at < length; ++added) {
    PackedEntry entry;
    if (!unpackEntry(page, length, at, entry) || entry.next > kMaxCookie || !isComponent(entry.name)) return false;
    if (entry.hasAttributes) {
      Inode& inode = inodes_.put(entry, now, 1);
      if (direntType(entry.attributes.mode) == 4) inode.parent = directory;
      inodes_.pin(entry.attributes.ino);
    }
    listing.append(entry, now, entry.hasAttributes);
  }
  return true;
}

bool Server::putListing(uint64_t directory, const uint8_t* page, size_t length) {
  Lock lock(mutex_);
  // A directory that the kernel has forgotten meanwhile must not be pinned: nobody would look at it.
  if (inodes_.find(directory) == nullptr || inodes_.listing(directory)) return false;
  auto listing = std::make_shared<Listing>(0);
  size_t added = 0;
  bool whole = appendPage(*listing, directory, page, length, added);
  Forgets forgets;
  listing->setEnd();
  if (whole && listing->size() <= config_.maxListed) {
    listing->index();
    inodes_.keepListing(directory, std::move(listing), forgets);
  } else {
    inodes_.releaseEntries(*listing, forgets);
  }
  giveBack(forgets);
  return true;
}

bool Server::replyReaddir(uint64_t id, const uint8_t* page, size_t length, bool end) {
  Pending request;
  std::string out;
  std::vector<uint64_t> counted;
  bool waits = false;
  bool malformed = false;
  {
    Lock lock(mutex_);
    waits = pending_.take(id, request);
    auto found = waits ? handles_.find(request.fh) : handles_.end();
    Forgets forgets;
    auto listing = std::make_shared<Listing>(request.offset < kDots ? 0 : request.offset - kDots);
    if (found != handles_.end()) {
      Handle& handle = found->second;
      // Readers in step grow the listing of a complete directory until it is whole; otherwise a page is all we keep.
      bool grows = handle.complete && handle.listing && handle.listing->fromStart() && !handle.listing->end() &&
                   handle.listing->endCookie() == (request.offset < kDots ? 0 : request.offset - kDots) &&
                   handle.listing->size() <= config_.maxListed && handle.listing->size() > 0;
      if (grows) {
        listing = handle.listing;
      } else {
        dropHandleListing(handle, forgets);
        handle.listing = listing;
        handle.hint = 0;
      }
    }
    size_t added = 0;
    malformed = !appendPage(*listing, request.nodeid, page, length, added);
    // A page without entries that is not the last would be asked for forever.
    if (end || malformed || added == 0) listing->setEnd();
    if (found == handles_.end()) {
      inodes_.releaseEntries(*listing, forgets);
    } else if (malformed) {
      listing = nullptr;
      dropHandleListing(found->second, forgets);
    } else {
      Handle& handle = found->second;
      uint64_t cookie = 0;
      encode(handle, request.offset, std::min<size_t>(request.size, config_.maxRead), request.opcode == kReaddirplus, out,
             counted, cookie);
      if (handle.complete && listing->end() && listing->fromStart() && listing->size() <= config_.maxListed) {
        listing->index();
        inodes_.keepListing(handle.nodeid, listing, forgets);
      }
    }
    giveBack(forgets);
  }
  if (!waits) return false;
  if (malformed) {
    send(request.unique, EIO);
  } else {
    sendListing(request.unique, out, counted);
  }
  return true;
}

void Server::releasedir(Request& request) {
  ReleaseIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
  if (uint64_t script = closeDirectory(in.fh)) {
    Job job;
    job.kind = kReleasedir;
    job.a = script;
    jobs_.push(std::move(job));
  }
  send(header.unique, 0);
}

}  // namespace imgfs::fuse
