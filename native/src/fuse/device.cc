#include "device.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace imgfs::fuse {

Device::~Device() { close(fd_); }

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
