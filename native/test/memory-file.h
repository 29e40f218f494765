// A file in memory with these bytes.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "check.h"

class MemoryFile {
 public:
  explicit MemoryFile(const std::string& bytes = "") : fd_(memfd_create("test", MFD_CLOEXEC)) {
    CHECK_EQUAL(pwrite(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  int fd() const { return fd_; }
  std::string bytes(size_t length) const {
    std::string result(length, '\0');
    const ssize_t got = pread(fd_, &result[0], length, 0);
    result.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return result;
  }
  void flip(size_t at) {
    char byte = 0;
    CHECK_EQUAL(pread(fd_, &byte, 1, static_cast<off_t>(at)), 1);
    byte = static_cast<char>(byte ^ 4);
    CHECK_EQUAL(pwrite(fd_, &byte, 1, static_cast<off_t>(at)), 1);
  }

 private:
  int fd_;
};
