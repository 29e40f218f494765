// Names, attributes, links and extended attributes.
#include <errno.h>

#include <algorithm>

#include "server.h"

namespace imgfs::fuse {
namespace {

// What a complete directory lacks will not come: its content is bound to a digest.
constexpr uint64_t kCompleteNegativeTtl = 3600000;
// The list of attribute names changes when an error is recorded: fresh enough for one run of `ls -l@` or `rsync -X`.
constexpr uint64_t kListxattrTtl = 1000;
// 64 Ki values of up to 256 bytes: 16 MB. All are dropped when it is full; they come back when they are asked for.
constexpr size_t kMaxXattrs = 65536;
constexpr size_t kMaxCachedXattr = 256;

std::string xattrKey(uint64_t nodeid, std::string_view name) {
  std::string key(reinterpret_cast<const char*>(&nodeid), sizeof(nodeid));
  return key.append(name);
}

// Bound to the content, so as lasting as the attributes. Other names (user.imgfs.*) tell a state.
bool isLasting(std::string_view name) { return name.rfind("user.oci.", 0) == 0; }

}  // namespace

void Server::lookup(Request& request) {
  std::string_view name;
  const InHeader& header = request.header();
  if (!request.takeString(name)) return malformed(request);
  if (!isComponent(name)) {
    send(header.unique, name.size() > 255 ? ENAMETOOLONG : EINVAL);
    return;
  }
  EntryOut out{};
  bool known = false;
  {
    Lock lock(mutex_);
    if (std::shared_ptr<Listing> listing = inodes_.listing(header.nodeid)) {
      Millis now = nowMillis();
      const ListedEntry* entry = listing->byName(name);
      if (entry == nullptr) {
        setValidity(kCompleteNegativeTtl, out.entryValid, out.entryValidNsec);
        known = true;
      } else if (Inode* inode = entry->entryExpiry > now ? inodes_.fresh(entry->ino, now) : nullptr) {
        out = makeEntry(inode->attributes, entry->entryExpiry - now, inode->attrExpiry - now);
        inode->kernel += 1;
        known = true;
      }
    }
  }
  if (!known) {
    Job job;
    job.name = name;
    toScript(request, std::move(job), Pending{});
    return;
  }
  sendEntry(header.unique, out);
}

bool Server::replyEntry(uint64_t id, const PackedEntry& entry) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    Inode& inode = inodes_.put(entry, nowMillis(), 1);
    inode.kernel += 1;
    inode.parent = request.nodeid;
    afterChange(request);
  }
  sendEntry(request.unique, makeEntry(entry.attributes, entry.entryTtl, entry.attrTtl));
  return true;
}

bool Server::replyNegative(uint64_t id, uint64_t entryTtl) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
  }
  EntryOut out{};
  setValidity(entryTtl, out.entryValid, out.entryValidNsec);
  if (entryTtl == 0) {
    send(request.unique, ENOENT);
  } else {
    send(request.unique, 0, &out, sizeof(out));
  }
  return true;
}

void Server::getattr(Request& request) {
  Attributes attributes;
  Millis ttl = 0;
  {
    Lock lock(mutex_);
    Millis now = nowMillis();
    if (Inode* inode = inodes_.fresh(request.header().nodeid, now)) {
      attributes = inode->attributes;
      ttl = inode->attrExpiry - now;
    }
  }
  if (ttl > 0) {
    sendAttributes(request.header().unique, attributes, ttl);
  } else {
    toScript(request, Job{}, Pending{});
  }
}

void Server::putAttributes(const PackedEntry& entry) {
  Lock lock(mutex_);
  // An inode that the kernel does not know must not come in this way: nobody would forget it.
  if (entry.attributes.ino == kRootNode || inodes_.find(entry.attributes.ino) != nullptr)
    inodes_.put(entry, nowMillis(), 0);
}

bool Server::replyAttributes(uint64_t id, const PackedEntry& entry) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    afterChange(request);
  }
  if (entry.attributes.ino != request.nodeid) {  // the kernel would mark the inode bad for good
    send(request.unique, EIO);
    return true;
  }
  putAttributes(entry);
  sendAttributes(request.unique, entry.attributes, entry.attrTtl);
  return true;
}

void Server::readlink(Request& request) {
  std::string target;
  {
    Lock lock(mutex_);
    if (const std::string* known = inodes_.target(request.header().nodeid, nowMillis())) target = *known;
  }
  if (target.empty()) {
    toScript(request, Job{}, Pending{});
  } else {
    send(request.header().unique, 0, target.data(), target.size());
  }
}

int Server::sendSized(uint64_t unique, uint32_t wanted, const void* bytes, size_t length) {
  if (wanted == 0) {
    GetxattrOut out{static_cast<uint32_t>(length), 0};
    return send(unique, 0, &out, sizeof(out));
  }
  return length > wanted ? send(unique, ERANGE) : send(unique, 0, bytes, length);
}

void Server::getxattr(Request& request) {
  GetxattrIn in{};
  std::string_view name;
  const InHeader& header = request.header();
  if (!request.take(in) || !request.takeString(name)) return malformed(request);
  // Every `ls -l` asks for security.selinux and for ACLs of every file. Those of an image are shown only to who wants
  // them: they would mean something on this system. ACLs never: the kernel believes them.
  if (name.rfind("user.", 0) != 0 && (!config_.allXattrs || name.rfind("system.", 0) == 0)) {
    send(header.unique, ENODATA);
    return;
  }
  {
    Lock lock(mutex_);
    auto known = xattrs_.find(xattrKey(header.nodeid, name));
    if (known != xattrs_.end() && known->second.expiry > nowMillis()) {
      std::string value = known->second.value;
      lock.unlock();
      sendSized(header.unique, in.size, value.data(), value.size());
      return;
    }
  }
  Job job;
  job.name = name;
  Pending pending;
  pending.size = in.size;
  pending.name = name;
  toScript(request, std::move(job), std::move(pending));
}

void Server::listxattr(Request& request) {
  GetxattrIn in{};
  const InHeader& header = request.header();
  if (!request.take(in)) return malformed(request);
  {
    Lock lock(mutex_);
    auto known = xattrs_.find(xattrKey(header.nodeid, ""));
    if (known != xattrs_.end() && known->second.expiry > nowMillis()) {
      std::string value = known->second.value;
      lock.unlock();
      sendSized(header.unique, in.size, value.data(), value.size());
      return;
    }
  }
  Pending pending;
  pending.size = in.size;
  toScript(request, Job{}, std::move(pending));
}

bool Server::replyBytes(uint64_t id, const uint8_t* bytes, size_t length) {
  Pending request;
  {
    Lock lock(mutex_);
    if (!pending_.take(id, request)) return false;
    Millis now = nowMillis();
    Inode* inode = inodes_.fresh(request.nodeid, now);
    if (inode != nullptr && request.opcode == kReadlink)
      inodes_.putTarget(request.nodeid, std::string(reinterpret_cast<const char*>(bytes), length), inode->attrExpiry);
    bool isList = request.opcode == kListxattr;
    if (inode != nullptr && length <= kMaxCachedXattr &&
        (isList || (request.opcode == kGetxattr && isLasting(request.name)))) {
      if (xattrs_.size() >= kMaxXattrs) xattrs_.clear();
      Millis expiry = isList ? std::min(inode->attrExpiry, now + kListxattrTtl) : inode->attrExpiry;
      xattrs_[xattrKey(request.nodeid, request.name)] =
          CachedXattr{std::string(reinterpret_cast<const char*>(bytes), length), expiry};
    }
  }
  switch (request.opcode) {
    case kGetxattr:
    case kListxattr:
      sendSized(request.unique, request.size, bytes, length);
      break;
    case kRead:
      send(request.unique, 0, bytes, std::min<size_t>(length, request.size));
      break;
    default:
      send(request.unique, 0, bytes, length);
  }
  return true;
}

void Server::expireAttributes(uint64_t ino) {
  Lock lock(mutex_);
  inodes_.expire(ino);
  xattrs_.clear();
}

void Server::expireEntry(uint64_t parent) {
  Lock lock(mutex_);
  Forgets forgets;
  inodes_.dropListing(parent, forgets);
  giveBack(forgets);
}

}  // namespace imgfs::fuse
