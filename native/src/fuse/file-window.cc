#include "file-window.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace imgfs::fuse {
namespace {

// Sixteen requests of a reader of the kernel's usual 128 KiB for one mmap, which also undoes the one before; two of the
// largest. It counts as resident memory of the process: 8 MB for four readers.
constexpr size_t kWindow = 2 << 20;
constexpr uint64_t kPageMask = 4095;

// The byte can be had without waiting. File systems that cannot tell (NFS) say no.
bool isResident(int fd, uint64_t offset) {
  uint8_t byte = 0;
  iovec part{&byte, 1};
  return preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT) == 1;
}

}  // namespace

const uint8_t* FileWindow::residentAt(const std::shared_ptr<OpenFd>& file, uint64_t offset, size_t length) {
  // Readers ahead bring pages in order: what lies between two that are there mostly is there, too.
  if (!isResident(file->fd, offset) || !isResident(file->fd, offset + length - 1)) return nullptr;
  if (file_ != file || offset < start_ || offset + length > start_ + kWindow) {
    if (length > kWindow - kPageMask - 1 || !map(file, offset & ~kPageMask)) return nullptr;
  }
  return bytes_ + (offset - start_);
}

// Over the addresses of the window before.
bool FileWindow::map(const std::shared_ptr<OpenFd>& file, uint64_t offset) {
  int fixed = bytes_ == nullptr ? 0 : MAP_FIXED;
  void* at = mmap(bytes_, kWindow, PROT_READ, MAP_SHARED | fixed, file->fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) {
    drop();
    return false;
  }
  bytes_ = static_cast<uint8_t*>(at);
  file_ = file;
  start_ = offset;
  return true;
}

void FileWindow::drop() {
  if (bytes_ != nullptr) munmap(bytes_, kWindow);
  bytes_ = nullptr;
  file_ = nullptr;
}

}  // namespace imgfs::fuse
