// Files on disk that hold content of the tree, so that reads are answered without JavaScript.
#pragma once

#include <sys/types.h>

#include <memory>
#include <vector>

#include "open-fd.h"
#include "range-set.h"

namespace imgfs::fuse {

// The content of one inode in a file, whole or in part. Guarded by the Server's lock.
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
  dev_t device = 0;
  ino_t inode = 0;
  uint64_t base = 0;  // where byte 0 of the inode lies in the file
  uint64_t size = 0;  // of the inode, in bytes
  bool complete = false;
  RangeSet present;
  std::vector<Waiter> waiters;
  std::vector<Fill> fills;

  bool has(Range range) const { return complete || present.covers(range); }
};

// Open file or directory of the kernel.
enum class OpenMode { kDirectory, kDirect, kCached, kPassthrough };

}  // namespace imgfs::fuse
