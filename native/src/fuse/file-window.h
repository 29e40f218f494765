// A part of a file on disk, mapped: a reply written out of it is one copy less than with pread.
//
// Nothing here touches the mapped bytes. The kernel does, when they are written to the device: a file that was cut
// meanwhile is EFAULT there, never SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "open-fd.h"

namespace imgfs::fuse {

class FileWindow {
 public:
  FileWindow() = default;
  ~FileWindow() { drop(); }
  FileWindow(const FileWindow&) = delete;
  FileWindow& operator=(const FileWindow&) = delete;

  // The bytes from `offset` on, when all of them are in memory; nullptr when reading them could wait for a disk, when
  // the file ends before them or when it cannot be mapped. Valid until the next call.
  const uint8_t* residentAt(const std::shared_ptr<OpenFd>& file, uint64_t offset, size_t length);
  bool isMapped() const { return file_ != nullptr; }
  // Lets go of the file: one that was evicted keeps its space on disk until then.
  void drop();

 private:
  bool map(const std::shared_ptr<OpenFd>& file, uint64_t offset);

  std::shared_ptr<OpenFd> file_;
  uint8_t* bytes_ = nullptr;
  uint64_t start_ = 0;
};

}  // namespace imgfs::fuse
