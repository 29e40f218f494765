// Files on disk that hold content of the tree, so that reads are answered without JavaScript.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "open-fd.h"
#include "range-set.h"

namespace imgfs::fuse {

// Bytes that an answer is made of, from a file or from memory.
struct Part {
  std::shared_ptr<OpenFd> file;              // null: `bytes`
  std::shared_ptr<const std::string> bytes;
  uint64_t offset = 0;                       // in the file or in `bytes`
  size_t length = 0;
};

// A file on disk that many inodes lie in, each with a part of it: a decoded layer. Guarded by the Server's lock.
struct SharedFile {
  std::shared_ptr<OpenFd> file;
  dev_t device = 0;
  ino_t inode = 0;
  uint64_t size = 0;  // what is behind does not exist, so it is not missing either
  RangeSet present;   // bytes that are there and were checked, as offsets in the file
};

// The content of one inode, whole or in part: in a file, or put together of segments. Guarded by the Server's lock.
struct Backing {
  struct Waiter {
    uint64_t pendingId;
    Range range;
    uint64_t script;  // handle of the FileSystem through which it may be filled; 0 when there is none
  };
  struct Fill {
    uint64_t id;
    Range range;
  };

  uint64_t nodeid = 0;
  std::shared_ptr<OpenFd> file;
  std::shared_ptr<SharedFile> shared;  // the file, where JavaScript tells of all that is present in it
  dev_t device = 0;
  ino_t inode = 0;
  uint64_t base = 0;  // where byte 0 of the inode lies in the file
  uint64_t size = 0;  // of the inode, in bytes
  bool complete = false;
  bool segmented = false;  // `segments` instead of `file`; belongs to one handle
  RangeSet present;
  std::map<uint64_t, Part> segments;  // by where they begin in the inode; not overlapping
  size_t literalBytes = 0;            // of segments in memory
  std::vector<Waiter> waiters;
  std::vector<Fill> fills;
  // Ranges that a thread of this process is writing, which tells of them by itself.
  std::vector<Range> coming;
  // Where JavaScript was last asked for something that was coming.
  uint64_t askedAt = 0;

  bool has(Range range) const;
  // The parts of a range that are not present.
  std::vector<Range> missing(Range range) const;
  // Where the bytes of the inode lie in the file.
  Range place() const { return {base, base + size}; }
  // What a range that is present is made of, in order.
  std::vector<Part> parts(Range range) const;
  void addSegment(Range range, Part part);
};

// Open file or directory of the kernel.
enum class OpenMode { kDirectory, kDirect, kCached, kPassthrough };

}  // namespace imgfs::fuse
