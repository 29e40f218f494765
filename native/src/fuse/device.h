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
  // The next request, or a negative errno; EINTR after a signal.
  ssize_t receive(uint8_t* buffer, size_t length);
  // True when a request, or the end of the mount, waits. `timeout` in milliseconds, -1 without; signals end it, too.
  bool waits(int timeout) const;

 private:
  int fd_;
};

}  // namespace imgfs::fuse
