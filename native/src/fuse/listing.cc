#include "listing.h"

#include <algorithm>
#include <functional>

namespace imgfs::fuse {

void Listing::append(const PackedEntry& entry, Millis now, bool pinned) {
  if (entry.next <= endCookie()) ascending_ = false;
  ListedEntry listed{};
  listed.ino = entry.attributes.ino;
  listed.next = entry.next;
  listed.entryExpiry = entry.hasAttributes ? now + entry.entryTtl : 0;
  listed.nameOffset = static_cast<uint32_t>(names_.size());
  listed.nameLength = static_cast<uint8_t>(entry.name.size());
  listed.type = static_cast<uint8_t>(direntType(entry.attributes.mode));
  listed.pinned = pinned;
  names_.append(entry.name);
  entries_.push_back(listed);
}

bool Listing::find(uint64_t cookie, size_t hint, size_t& position) const {
  if (cookie == start_) {
    position = 0;
    return true;
  }
  if (hint > 0 && hint <= entries_.size() && entries_[hint - 1].next == cookie) {
    position = hint;
    return true;
  }
  auto matches = [&](const ListedEntry& entry) { return entry.next == cookie; };
  auto found = ascending_ ? std::lower_bound(entries_.begin(), entries_.end(), cookie,
                                             [](const ListedEntry& e, uint64_t c) { return e.next < c; })
                          : std::find_if(entries_.begin(), entries_.end(), matches);
  if (found == entries_.end() || !matches(*found)) return false;
  position = static_cast<size_t>(found - entries_.begin()) + 1;
  return true;
}

void Listing::index() {
  size_t capacity = 8;
  while (capacity < entries_.size() * 2) capacity *= 2;
  slots_.assign(capacity, 0);
  for (size_t i = 0; i < entries_.size(); ++i) {
    std::string_view wanted = name(entries_[i]);
    size_t slot = std::hash<std::string_view>{}(wanted) & (capacity - 1);
    while (slots_[slot] != 0 && name(entries_[slots_[slot] - 1]) != wanted) slot = (slot + 1) & (capacity - 1);
    if (slots_[slot] == 0) slots_[slot] = static_cast<uint32_t>(i + 1);
  }
  entries_.shrink_to_fit();
  names_.shrink_to_fit();
}

const ListedEntry* Listing::byName(std::string_view wanted) const {
  if (slots_.empty()) return nullptr;
  size_t mask = slots_.size() - 1;
  for (size_t slot = std::hash<std::string_view>{}(wanted) & mask; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const ListedEntry& entry = entries_[slots_[slot] - 1];
    if (name(entry) == wanted) return &entry;
  }
  return nullptr;
}

}  // namespace imgfs::fuse
