// Reads the headers of an archive on disk by seeking from one to the next. Whoever asked puts them together (long names,
// pax records), and asks again where he goes another way: a pax header may say how long a member is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace imgfs {

// `length` bytes at `offset` of the archive.
struct HeaderWindow {
  double offset;
  double length;
};

// First bytes of a content, by which a compression is known.
constexpr size_t kHeadBytes = 8;

// One header; its texts are in `HeaderWalk::names`.
struct FoundHeader {
  double offset;
  double size;
  double typeFlag;
  // Of `head`, those that were read.
  double headBytes;
  uint8_t head[kHeadBytes];
};

struct HeaderWalk {
  std::vector<FoundHeader> headers;
  // For each header its path and the target of a link, a NUL behind both.
  std::string names;
  // What lies around small members and what is no header; the page with the header of a large one says no more than that.
  // In order, none overlapping another.
  std::vector<HeaderWindow> windows;
  // Their bytes, one window behind the other.
  std::vector<uint8_t> bytes;
  // Where the next header is; -1 when the archive ended or what came is no header.
  double next = -1;
  // errno of a read that failed; what was read before it is there all the same.
  int error = 0;
  // The end of the archive, where it was asked for: writers put there last what says what is in it.
  double endOffset = 0;
  std::vector<uint8_t> endBytes;
  // Of a walk in parts: the last one.
  bool isLast = true;
};

// From the header at `at` of an archive of `size` bytes, for about `budgetUs` microseconds.
HeaderWalk walkHeaders(int fd, uint64_t at, uint64_t size, uint64_t budgetUs);

// The same in parts, each handed over while the next is read. Each goes on where the one before says. `size` 0: that of the
// file. The first part of a walk from the beginning brings the end of the archive.
void walkHeadersInParts(int fd, uint64_t at, uint64_t size, uint64_t budgetUs,
                        const std::function<void(HeaderWalk&&)>& take);

}  // namespace imgfs
