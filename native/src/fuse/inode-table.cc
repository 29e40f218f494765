#include "inode-table.h"

#include <algorithm>

namespace imgfs::fuse {

Inode& InodeTable::put(const Attributes& attributes, uint64_t attrTtl, Millis now, uint64_t scriptLookups) {
  Inode& inode = inodes_[attributes.ino];
  inode.attributes = attributes;
  inode.attrExpiry = attrTtl == 0 ? 0 : now + attrTtl;
  inode.script += scriptLookups;
  return inode;
}

Inode& InodeTable::put(const PackedEntry& entry, Millis now, uint64_t scriptLookups) {
  Inode& inode = put(entry.attributes, entry.attrTtl, now, scriptLookups);
  if (entry.file != 0) {
    inode.file = entry.file;
    inode.fileOffset = entry.fileOffset;
  }
  if (!entry.target.empty()) putTarget(entry.attributes.ino, std::string(entry.target), inode.attrExpiry);
  return inode;
}

Inode* InodeTable::find(uint64_t ino) {
  auto found = inodes_.find(ino);
  return found == inodes_.end() ? nullptr : &found->second;
}

Inode* InodeTable::fresh(uint64_t ino, Millis now) {
  Inode* inode = find(ino);
  return inode != nullptr && inode->attrExpiry > now ? inode : nullptr;
}

void InodeTable::addKernelLookups(uint64_t ino, uint64_t count) {
  if (Inode* inode = find(ino)) inode->kernel += count;
}

void InodeTable::forget(uint64_t ino, uint64_t count, Forgets& out) {
  Inode* inode = find(ino);
  if (inode == nullptr) return;
  inode->kernel -= std::min(inode->kernel, count);
  if (inode->kernel == 0) inode->stored = false;
  letGo(ino, out);
}

void InodeTable::pin(uint64_t ino) { inodes_[ino].pins += 1; }

void InodeTable::unpin(uint64_t ino, Forgets& out) {
  Inode* inode = find(ino);
  if (inode == nullptr || inode->pins == 0) return;
  inode->pins -= 1;
  letGo(ino, out);
}

void InodeTable::letGo(uint64_t ino, Forgets& out) {
  auto found = inodes_.find(ino);
  if (found == inodes_.end() || found->second.kernel > 0 || found->second.pins > 0 || ino == kRootNode) return;
  if (found->second.script > 0) out.emplace_back(ino, found->second.script);
  inodes_.erase(found);
  targets_.erase(ino);
}

void InodeTable::keepListing(uint64_t directory, std::shared_ptr<Listing> listing, Forgets& out) {
  if (listing->size() > maxListed_) return;
  dropListing(directory, out);
  while (listed_ + listing->size() > maxListed_ && !order_.empty()) dropListing(order_.front(), out);
  listed_ += listing->size();
  // The directory itself is pinned: were it forgotten, the FileSystem might give it another number.
  pin(directory);
  order_.push_back(directory);
  kept_[directory] = Kept{std::move(listing), std::prev(order_.end())};
}

std::shared_ptr<Listing> InodeTable::listing(uint64_t directory) {
  auto found = kept_.find(directory);
  if (found == kept_.end()) return nullptr;
  order_.splice(order_.end(), order_, found->second.position);
  return found->second.listing;
}

void InodeTable::dropListing(uint64_t directory, Forgets& out) {
  auto found = kept_.find(directory);
  if (found == kept_.end()) return;
  std::shared_ptr<Listing> listing = std::move(found->second.listing);
  order_.erase(found->second.position);
  kept_.erase(found);
  listed_ -= listing->size();
  unpin(directory, out);
  // A directory handle may still read it: then that handle gives up the pins when it is released.
  if (listing.use_count() == 1) releaseEntries(*listing, out);
}

void InodeTable::releaseEntries(Listing& listing, Forgets& out) {
  for (ListedEntry& entry : listing.entries()) {
    if (!entry.pinned) continue;
    entry.pinned = false;
    unpin(entry.ino, out);
  }
}

void InodeTable::expire(uint64_t ino) {
  if (Inode* inode = find(ino)) inode->attrExpiry = 0;
  targets_.erase(ino);
}

void InodeTable::putTarget(uint64_t ino, std::string target, Millis expiry) {
  if (find(ino) != nullptr) targets_[ino] = Target{std::move(target), expiry};
}

const std::string* InodeTable::target(uint64_t ino, Millis now) {
  auto found = targets_.find(ino);
  return found == targets_.end() || found->second.expiry <= now ? nullptr : &found->second.text;
}

}  // namespace imgfs::fuse
