#include "punch-holes.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

namespace imgfs {

namespace {

// Punching a gigabyte takes milliseconds: half a second in all.
constexpr int kLockTries = 50;
constexpr useconds_t kLockWaitUs = 10'000;

bool lock(int fd, int operation) {
  int result;
  do result = flock(fd, operation | LOCK_NB);
  while (result != 0 && errno == EINTR);
  return result == 0;
}

bool punch(int fd, const Hole& hole) {
#ifdef FALLOC_FL_PUNCH_HOLE
  int result;
  do {
    result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(hole.start),
                       static_cast<off_t>(hole.end - hole.start));
  } while (result != 0 && errno == EINTR);
  return result == 0;
#else
  (void)fd;
  (void)hole;
  return false;
#endif
}

}  // namespace

bool lockShared(int fd) {
  for (int tries = 0; tries < kLockTries; ++tries) {
    if (lock(fd, LOCK_SH)) return true;
    if (errno != EWOULDBLOCK) return false;
    usleep(kLockWaitUs);
  }
  return false;
}

bool punchHoles(int fd, int mapFd, const std::vector<Hole>& holes) {
  if (!lock(fd, LOCK_EX)) {
    // A conversion that fails may have lost the lock (flock(2)).
    lockShared(fd);
    return false;
  }
  bool punched = false;
  const uint8_t absent = 0;
  for (const Hole& hole : holes) {
    if (pwrite(mapFd, &absent, 1, static_cast<off_t>(hole.mapIndex)) != 1 || !punch(fd, hole)) break;
    punched = true;
  }
  lockShared(fd);
  return punched;
}

}  // namespace imgfs
