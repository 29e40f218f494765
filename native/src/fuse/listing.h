// Entries of one directory in reading order: a page of it, or all of it with an index by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "attributes.h"

namespace imgfs::fuse {

struct ListedEntry {
  uint64_t ino;
  uint64_t next;       // cookie of the entry behind it
  Millis entryExpiry;  // how long the name may be believed; 0 without attributes
  uint32_t nameOffset;
  uint8_t nameLength;
  uint8_t type;        // DT_*
  bool pinned;         // holds a pin on the inode table: the inode is known there
};

class Listing {
 public:
  // `start`: cookie of the first entry (0 for the beginning of the directory).
  explicit Listing(uint64_t start) : start_(start) {}

  void append(const PackedEntry& entry, Millis now, bool pinned);
  // Nothing is behind the last entry.
  void setEnd() { end_ = true; }
  bool end() const { return end_; }
  bool fromStart() const { return start_ == 0; }
  // Cookie behind the last entry.
  uint64_t endCookie() const { return entries_.empty() ? start_ : entries_.back().next; }

  // Position of the entry that `cookie` leads to; size() for the one behind the last. False when `cookie` is unknown
  // here. `hint` is the position that a reader going straight on would ask for.
  bool find(uint64_t cookie, size_t hint, size_t& position) const;

  // Build the index by name. Of two entries with one name the first is found.
  void index();
  bool indexed() const { return !slots_.empty(); }
  const ListedEntry* byName(std::string_view name) const;

  size_t size() const { return entries_.size(); }
  const ListedEntry& at(size_t position) const { return entries_[position]; }
  std::vector<ListedEntry>& entries() { return entries_; }
  std::string_view name(const ListedEntry& entry) const {
    return std::string_view(names_).substr(entry.nameOffset, entry.nameLength);
  }

 private:
  uint64_t start_;
  bool end_ = false;
  bool ascending_ = true;  // cookies grow: positions can be found by bisection
  std::vector<ListedEntry> entries_;
  std::string names_;
  std::vector<uint32_t> slots_;  // open addressing; position + 1, 0 is free
};

}  // namespace imgfs::fuse
