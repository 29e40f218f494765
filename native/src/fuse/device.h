// The open /dev/fuse: replies, and files for passthrough.
#pragma once

#include "server.h"

namespace imgfs::fuse {

class Device : public Channel {
 public:
  explicit Device(int fd) : fd_(fd) {}
  ~Device() override;
  int send(const iovec* parts, int count) override;
  int openBacking(int fd) override;
  void closeBacking(int id) override;
  int fd() const { return fd_; }

 private:
  int fd_;
};

}  // namespace imgfs::fuse
