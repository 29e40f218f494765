#include "device.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace imgfs::fuse {

Device::~Device() { close(fd_); }

ssize_t Device::receive(uint8_t* buffer, size_t length) {
  ssize_t got = ::read(fd_, buffer, length);
  return got < 0 ? -errno : got;
}

bool Device::waits(int timeout) const {
  pollfd device{fd_, POLLIN, 0};
  return poll(&device, 1, timeout) > 0;
}

int Device::send(const iovec* parts, int count) { return writev(fd_, parts, count) < 0 ? errno : 0; }

int Device::openBacking(int fd) {
  BackingMap map{fd, 0, 0};
  int id = ioctl(fd_, kIocBackingOpen, &map);
  return id < 0 ? -errno : id;
}

void Device::closeBacking(int id) {
  uint32_t number = static_cast<uint32_t>(id);
  ioctl(fd_, kIocBackingClose, &number);
}

}  // namespace imgfs::fuse
