// What the driver knows without asking JavaScript: attributes of inodes, link targets, complete directories.
//
// Two counts are kept for each inode. `kernel` is what the kernel will give back by FORGET; `script` is what the
// FileSystem counted and wants back. Answers given from here raise only `kernel`, so the two differ. An inode is let go
// when the kernel knows it no more and nothing pins it; then `script` is handed back at once.
//
// Not thread-safe: the Server's lock guards it.
#pragma once

#include <list>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "listing.h"

namespace imgfs::fuse {

// Lookups to give back to the FileSystem: inode and count.
using Forgets = std::vector<std::pair<uint64_t, uint64_t>>;

struct Inode {
  Attributes attributes;
  Millis attrExpiry = 0;  // 0: attributes are not known
  uint64_t kernel = 0;
  uint64_t script = 0;
  uint64_t parent = 0;  // of a directory: the last directory it was found in
  uint32_t pins = 0;
  uint32_t file = 0;        // number of the shared file that its bytes lie in; 0: not known
  uint64_t fileOffset = 0;  // where they begin there
  bool stored = false;      // the kernel was given its pages, and has not forgotten it since
};

class InodeTable {
 public:
  explicit InodeTable(size_t maxListed) : maxListed_(maxListed) {}

  // Remember attributes. `scriptLookups` counts are owed to the FileSystem from now on.
  Inode& put(const Attributes& attributes, uint64_t attrTtl, Millis now, uint64_t scriptLookups);
  // The same, with where the bytes lie, if that is told.
  Inode& put(const PackedEntry& entry, Millis now, uint64_t scriptLookups);
  Inode* find(uint64_t ino);
  // Found, and its attributes may still be believed.
  Inode* fresh(uint64_t ino, Millis now);

  void addKernelLookups(uint64_t ino, uint64_t count);
  void forget(uint64_t ino, uint64_t count, Forgets& out);
  void pin(uint64_t ino);
  void unpin(uint64_t ino, Forgets& out);

  // Keep a whole listing: from its start, to its end, indexed. Pushes out the least recently used ones.
  void keepListing(uint64_t directory, std::shared_ptr<Listing> listing, Forgets& out);
  std::shared_ptr<Listing> listing(uint64_t directory);
  void dropListing(uint64_t directory, Forgets& out);
  // Give up the pins that entries of a listing hold. Called once, when nobody reads the listing any more.
  void releaseEntries(Listing& listing, Forgets& out);

  // Attributes of this inode must be asked for again.
  void expire(uint64_t ino);

  void putTarget(uint64_t ino, std::string target, Millis expiry);
  const std::string* target(uint64_t ino, Millis now);

  size_t inodes() const { return inodes_.size(); }
  size_t listed() const { return listed_; }

 private:
  struct Kept {
    std::shared_ptr<Listing> listing;
    std::list<uint64_t>::iterator position;
  };
  struct Target {
    std::string text;
    Millis expiry;
  };

  void letGo(uint64_t ino, Forgets& out);

  size_t maxListed_;
  size_t listed_ = 0;  // entries in kept listings
  std::unordered_map<uint64_t, Inode> inodes_;
  std::unordered_map<uint64_t, Kept> kept_;
  std::list<uint64_t> order_;  // directories with a kept listing, least recently used first
  std::unordered_map<uint64_t, Target> targets_;
};

}  // namespace imgfs::fuse
