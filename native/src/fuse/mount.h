// Mounting and unmounting: mount(2) for who may, the setuid helper fusermount3 for everybody else.
// All functions block; they are called on a thread of libuv's pool.
#pragma once

#include <cstdint>
#include <string>

namespace imgfs::fuse {

struct MountRequest {
  std::string mountPoint;  // absolute
  std::string fsName;
  std::string helper;      // path of fusermount3; empty for mount(2)
  bool readOnly = true;
  bool allowOther = false;
  uint32_t maxRead = 0;
};

struct MountResult {
  int fd = -1;        // open /dev/fuse, close-on-exec
  int error = 0;      // errno of the step that failed
  std::string step;   // what failed: "open /dev/fuse", "mount", "fusermount3"
  std::string output; // what the helper said
};

MountResult mountFuse(const MountRequest& request);

// Detaches (`lazy`) or unmounts. 0, or an errno; `output` is what the helper said.
int unmountFuse(const std::string& mountPoint, const std::string& helper, bool lazy, std::string& output);

}  // namespace imgfs::fuse
