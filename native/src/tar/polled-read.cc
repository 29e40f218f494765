#include "polled-read.h"

#include <fcntl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace imgfs {

namespace {

// On a single processor whoever polls keeps it from those that have something to do.
bool hasProcessorToSpare() {
#if defined(__linux__) && defined(RWF_NOWAIT)
  cpu_set_t allowed;
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 1;
#else
  return false;
#endif
}

// Some tens of nanoseconds in which the other thread of the core has it.
void relax() {
#if defined(__x86_64__) || defined(__i386__)
  for (int turn = 0; turn < 5; ++turn) __builtin_ia32_pause();
#elif defined(__aarch64__)
  for (int turn = 0; turn < 5; ++turn) asm volatile("yield");
#endif
}

}  // namespace

PolledReader::PolledReader(int fd) : fd_(fd), patience_(hasProcessorToSpare() ? kPatience : 0) {}

size_t PolledReader::read(uint8_t* bytes, size_t length, uint64_t offset, int& error) {
  size_t filled = patience_ > 0 ? poll(bytes, length, offset) : 0;
  while (filled < length) {
    const ssize_t got = pread(fd_, bytes + filled, length - filled, static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

size_t PolledReader::poll(uint8_t* bytes, size_t length, uint64_t offset) {
#if defined(__linux__) && defined(RWF_NOWAIT)
  using Clock = std::chrono::steady_clock;
  size_t filled = 0;
  bool isAsked = false;
  Clock::time_point until;
  while (filled < length) {
    const iovec target{bytes + filled, length - filled};
    const ssize_t got = preadv2(fd_, &target, 1, static_cast<off_t>(offset + filled), RWF_NOWAIT);
    if (got > 0) {
      filled += static_cast<size_t>(got);
      continue;
    }
    // The end of the file, a failure, or a file system that always waits: an ordinary read says which.
    if (got == 0 || errno != EAGAIN) {
      if (got < 0) patience_ = 0;
      return filled;
    }
    if (!isAsked) {
      isAsked = true;
      const auto wanted = static_cast<off_t>(length - filled);
      posix_fadvise(fd_, static_cast<off_t>(offset + filled), wanted, POSIX_FADV_WILLNEED);
      // Whoever waits for this processor comes first, the disk is at work meanwhile: without it JavaScript, which a part of
      // the walk has woken, stood behind this thread for milliseconds.
      sched_yield();
      until = Clock::now() + std::chrono::microseconds(kLongestPollUs);
    } else if (Clock::now() >= until) {
      patience_ -= 1;
      return filled;
    }
    relax();
  }
  if (isAsked) patience_ = kPatience;
  return filled;
#else
  (void)bytes, (void)length, (void)offset;
  return 0;
#endif
}

}  // namespace imgfs
