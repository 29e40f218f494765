#include "running-digest.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace imgfs {

namespace {

// Small enough to be hashed out of the second-level cache, large enough that the system call is 1 % of hashing it.
constexpr size_t kReadBytes = 256 << 10;

}  // namespace

bool RunningDigest::offer(uint64_t at, const uint8_t* data, size_t length) {
  if (position() != at) return false;
  std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock || position() != at) return false;
  hash_.update(data, length);
  position_.store(at + length, std::memory_order_release);
  return true;
}

void RunningDigest::feed(const uint8_t* data, size_t length) {
  std::lock_guard<std::mutex> lock(mutex_);
  hash_.update(data, length);
  position_.store(position() + length, std::memory_order_release);
}

int RunningDigest::advance(int file, uint64_t end) {
  const std::unique_ptr<uint8_t[]> buffer(new uint8_t[kReadBytes]);
  while (position() < end) {
    // Taken anew for each piece: a receiver that has the next one in its hands need not wait long.
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t at = position();
    if (at >= end) break;
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(kReadBytes, end - at));
    const ssize_t got = pread(file, buffer.get(), wanted, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    hash_.update(buffer.get(), static_cast<size_t>(got));
    position_.store(at + static_cast<uint64_t>(got), std::memory_order_release);
  }
  return 0;
}

std::string RunningDigest::finish() {
  std::lock_guard<std::mutex> lock(mutex_);
  return hash_.finish();
}

}  // namespace imgfs
