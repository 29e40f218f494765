#include "interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>

namespace imgfs::fuse {
namespace {

constexpr uint64_t bit(int signal) { return 1ull << (signal - 1); }

// Their default is to be ignored or to stop the process: they never end a program by themselves.
constexpr uint64_t kHarmless =
    bit(SIGCHLD) | bit(SIGURG) | bit(SIGWINCH) | bit(SIGCONT) | bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
// Common in the background when a program handles them; fatal when it does not. Real-time signals start at 32.
constexpr uint64_t kHarmlessIfCaught =
    bit(SIGPROF) | bit(SIGVTALRM) | bit(SIGIO) | bit(SIGUSR1) | bit(SIGUSR2) | 0xffffffff80000000ull;

bool readMask(std::string_view status, std::string_view field, uint64_t& out) {
  size_t at = status.find(field);
  if (at == std::string_view::npos) return false;
  at += field.size();
  while (at < status.size() && (status[at] == ' ' || status[at] == '\t')) ++at;
  return std::from_chars(status.data() + at, status.data() + status.size(), out, 16).ec == std::errc{};
}

}  // namespace

bool endsWait(std::string_view status) {
  uint64_t own = 0, shared = 0, blocked = 0, caught = 0;
  if (!readMask(status, "\nSigPnd:", own) || !readMask(status, "\nShdPnd:", shared) ||
      !readMask(status, "\nSigBlk:", blocked) || !readMask(status, "\nSigCgt:", caught))
    return true;
  uint64_t pending = (own | shared) & ~blocked;
  return (pending & ~kHarmless & ~(kHarmlessIfCaught & caught)) != 0;
}

bool endsWait(uint32_t tid) {
  if (tid == 0) return true;  // not visible in this pid namespace
  char path[32];
  std::snprintf(path, sizeof(path), "/proc/%u/status", tid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  char text[8192];  // about 1.5 KiB in practice
  ssize_t length = read(fd, text, sizeof(text));
  close(fd);
  return length <= 0 || endsWait(std::string_view(text, static_cast<size_t>(length)));
}

}  // namespace imgfs::fuse
