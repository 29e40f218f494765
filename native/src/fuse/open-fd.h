#pragma once

#include <unistd.h>

namespace imgfs::fuse {

// An open descriptor of our own, closed with the last user.
struct OpenFd {
  explicit OpenFd(int fd) : fd(fd) {}
  ~OpenFd() { close(fd); }
  OpenFd(const OpenFd&) = delete;
  OpenFd& operator=(const OpenFd&) = delete;
  const int fd;
};

}  // namespace imgfs::fuse
